"""Files become rows, or an error that says where and what to do."""

import csv
import gzip
import io
import json
import sys

import pytest

from sweeper.data import table as rows_table
from sweeper.data.reading.read import data_suffix, keys_of, read
from sweeper.errors import DataError, NotInstalled
from sweeper.packages import install_command

ROWS = [{"text": "Wo ist mein Köfferchen?", "label": "a"}, {"text": "two\nlines", "label": "b"}]


def broken(table):
    return tuple(one[:3] for one in table.broken)


def as_csv(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows):
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


WRITERS = {
    "rows.jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "rows.ndjson": lambda rows: ("\n\n".join(map(json.dumps, rows)) + "\n").encode(),
    "rows.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "data.json": lambda rows: json.dumps({"version": 1, "data": rows}).encode(),
    "lines.json": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
    "list.jsonl": lambda rows: json.dumps(rows).encode(),
    "bom.jsonl": lambda rows: b"\xef\xbb\xbf" + "\n".join(map(json.dumps, rows)).encode(),
    "utf16.csv": lambda rows: as_csv(rows).decode().encode("utf-16"),
    "rows.csv": as_csv,
    "semicolon.csv": lambda rows: as_csv(rows, ";"),
    "rows.tsv": lambda rows: as_csv(rows, "\t"),
    "rows.parquet": as_parquet,
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name, packed):
    data = WRITERS[name](ROWS)
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(data) if packed else data)
    table = read(path)
    assert [dict(fields) for _, fields in table.rows] == ROWS
    assert table.columns == ("text", "label")


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"text": "a"}\n\n{"text": "b"}\n')
    assert [line for line, _ in read(path).rows] == [2, 4]
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"two\nlines",a\nthird,b\n')
    assert [line for line, _ in read(path).rows] == [2, 4]


def test_a_line_separator_inside_a_json_string_does_not_end_the_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one\u2028row"}\n', encoding="utf-8")
    assert read(path).rows == ((1, {"text": "one\u2028row"}),)


def test_a_cell_may_have_thousands_of_lines(tmp_path):
    cell = "a line\n" * 5000
    (tmp_path / "rows.csv").write_text(f'text,label\n"{cell}",a\nshort,b\n')
    rows = read(tmp_path / "rows.csv").rows
    assert rows == ((2, {"text": cell, "label": "a"}), (5003, {"text": "short", "label": "b"}))


def test_plain_text_gives_paragraphs_with_their_lines(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("first\nparagraph\n\n\nsecond\n")
    assert read(path).rows == ((1, {"text": "first\nparagraph"}), (5, {"text": "second"}))


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("rows.txt", b"one\rtwo\r\nthree", [1, 2, 3]),
        ("rows.jsonl", b'{"text": "a"}\r{"text": "b"}\r\n{broken\r{"text": "c"}', [1, 2, 4]),
    ],
)
def test_a_carriage_return_alone_ends_a_line(tmp_path, name, content, lines):
    (tmp_path / name).write_bytes(content)
    assert [line for line, _ in read(tmp_path / name).rows] == lines


def test_plain_text_without_blank_lines_gives_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\nfirst\r\nsecond\r\n\n")
    table = read(path)
    assert table.rows == ((2, {"text": "first"}), (3, {"text": "second"}))
    assert table.how == ["plain text, one row for each line"]


def test_cells_stay_strings_and_quoted_delimiters_stay_inside(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"a, b",007\n"say ""hi""",008\n')
    assert [fields for _, fields in read(path).rows] == [
        {"text": "a, b", "label": "007"},
        {"text": 'say "hi"', "label": "008"},
    ]


def test_a_tsv_with_stray_quotes_is_read_without_quoting(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"Hello there\tgreet\n5" pipe\tbuy\n')
    table = read(path)
    assert [fields["text"] for _, fields in table.rows] == ['"Hello there', '5" pipe']
    assert "without quoting" in table.how[0]


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("sentence,kind\nis it so,q\nit is so,s\n", ("sentence", "kind"), 2),
        ("great film,positive\nbad film,negative\ndull,negative\nfine,positive\n", None, 4),
        ("id,value,what\n1,2.5,x\n2,2.5,y\n", ("id", "value", "what"), 2),
        ("1,2.5\n2,3.5\n", None, 2),
    ],
)
def test_a_header_is_found_by_what_it_says(tmp_path, text, columns, rows):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    table = read(path)
    assert len(table.rows) == rows
    assert table.columns == (columns or ("column_1", "column_2"))
    assert ("no line with names" in table.how[0]) == (columns is None)


def test_a_title_above_a_table_is_listed_and_not_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    lines = [["Tickets of May"], [], ["text", "label"], ["a", "x"], ["b", "y"]]
    for cells in lines:
        book.active.append(cells)
    book.save(tmp_path / "rows.xlsx")
    (tmp_path / "rows.csv").write_text("".join(f"{','.join(cells)}\n" for cells in lines))
    for name in ("rows.xlsx", "rows.csv"):
        table = read(tmp_path / name)
        assert table.rows == ((4, {"text": "a", "label": "x"}), (5, {"text": "b", "label": "y"}))
        assert not table.broken
        assert table.how[0].endswith("names in line 3; left out above: 'Tickets of May'")


ROWS_A = [{"q": "a", "a": 1}, {"q": "b", "a": 2}]
OBJECTS = {
    "splits": ({"train": ROWS_A, "dev": [{"q": "c", "a": 3}]}, ["train", "dev"]),
    "data": ({"version": "1", "data": ROWS_A, "labels": ["x", "y"]}, ["data"]),
    "by name": ({"one": ROWS_A[0], "two": ROWS_A[1]}, [""]),
    "columns by number": ({"q": {"0": "a", "1": "b"}, "a": {"0": 1, "1": 2}}, [""]),
    "columns": ({"q": ["a", "b"], "a": [1, 2]}, [""]),
    "pandas split": ({"columns": ["q", "a"], "index": [0, 1], "data": [["a", 1], ["b", 2]]}, [""]),
    "splits of columns": ({"train": {"q": ["a", "b"], "a": [1, 2]}}, ["train"]),
    "squad": (
        {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": ROWS_A}]}]},
        ["data"],
    ),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_rows_in_an_object_are_found_and_told(tmp_path, name):
    document, keys = OBJECTS[name]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(document))
    assert keys_of(path) == tuple(filter(None, keys))
    table = read(path / f"{keys[0]}.json" if "train" in keys else path)
    more = {"title": "t", "context": "c", "answers": {"text": []}} if name == "squad" else {}
    assert [fields for _, fields in table.rows] == [{**row, **more} for row in ROWS_A]
    assert table.how[0].startswith("the content is an object")


def test_a_list_of_cells_has_names_in_its_first_row(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([["q", "a"], ["a", 1], ["b", 2]]))
    assert [fields for _, fields in read(tmp_path / "rows.json").rows] == ROWS_A


def test_lists_of_which_none_is_named_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"good": ROWS_A, "bad": ROWS_A}))
    with pytest.raises(DataError, match="`good`, `bad`"):
        read(path)


def test_class_names_of_a_hub_parquet_are_read_from_its_schema(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "text": {"_type": "Value"},
    }
    table = pa.Table.from_pylist([{"text": "fine", "label": 1}])
    table = table.replace_schema_metadata(
        {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    )
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet").label_names == {"label": ("neg", "pos")}


BROKEN = {
    "empty.jsonl": (b"", "the file is empty"),
    "blank.csv": (b" \n\n", "the file is empty"),
    "empty.txt": (b"\n \n", "the file is empty"),
    "header.csv": (b"text,label\n", "the file has no rows"),
    "list.json": (b"[]", "the file has no rows"),
    "rows.docx": (b"PK\x03\x04", "not a kind of file"),
    "packed.jsonl": (gzip.compress(b'{"text": "a"}' * 99), "binary, not text"),
    "binary.csv": (b"a,b\n\x00\x01", "binary, not text"),
    "arrow.parquet": (b"not parquet", "not a valid Parquet file"),
    "plain.jsonl.gz": (b'{"text": "a"}', "cannot be unpacked"),
    "half.jsonl.gz": (gzip.compress(b'{"text": "a"}' * 99)[:-9], "cannot be unpacked"),
    "scalar.json": (b"42", "no list of rows"),
    "object.json": (b'{"rows": []}', "no list of rows"),
    "broken.json": (b'[{"a": },\n{"a": }]', r"broken\.json:1: broken JSON"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "number.json": (b'[{"a": ' + b"9" * 5000 + b"}]", "cannot be read"),
    "open.csv": (
        b'text,label\n"never closed,b\n"nor this\n',
        r"open\.csv:2: the row that starts here cannot be read",
    ),
    "wide.csv": (b"text,label\n" + b"a,b\n" + b"a,b,c\n" * 2, r"wide\.csv:3: more fields"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_an_error_that_names_the_place(tmp_path, name):
    data, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(path)


def test_broken_lines_are_listed_and_refused_only_where_most_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = ['{"text": "fine"}'] * 50
    for number in (3, 7):
        lines[number - 1] = '{"text": '
    lines[9] = '["a list"]'
    path.write_text("\n".join(lines))
    table = read(path)
    other = "a row that is not an object with named fields"
    assert broken(table) == (
        (3, "broken JSON", '{"text": '),
        (7, "broken JSON", '{"text": '),
        (10, other, '["a list"]'),
    )
    assert len(table.rows) == 47
    path.write_text("\n".join(['["a list"]', *lines[:2], "{"]))
    assert [line for line, *_ in broken(read(path))] == [1, 4]
    path.write_text('{"text": "fine"}\n["a list"]\n{"text":\n')
    with pytest.raises(DataError) as error:
        read(path)
    problems = error.value.problems
    assert [problem.where.rsplit(":", 1)[1] for problem in problems] == ["2", "3"]
    assert problems[0].what == other
    path.write_text("nonsense\n" * 100)
    with pytest.raises(DataError, match=" 90 "):
        read(path)


@pytest.mark.parametrize(
    "line", ['"row 10 never closed{}a', '"row "20" badly quoted"{}a', '"the end']
)
@pytest.mark.parametrize("mark", [",", ";"])
def test_a_quote_that_is_not_closed_is_refused_with_its_line(tmp_path, mark, line):
    lines = [f'"row {n}{mark} quoted"{mark}{"ab"[n % 2]}' for n in range(40)]
    lines[39 if line.endswith("end") else 10] = line.format(mark)
    (tmp_path / "rows.csv").write_text("\n".join([f"text{mark}label", *lines]))
    with pytest.raises(DataError) as refused:
        read(tmp_path / "rows.csv")
    (problem,) = refused.value.problems
    assert problem.where == f"{tmp_path / 'rows.csv'}:{lines.index(line.format(mark)) + 2}"


@pytest.mark.parametrize("stored", [False, True])
def test_rows_of_a_document_have_its_lines_and_so_has_the_place_where_it_is_broken(
    tmp_path, monkeypatch, stored
):
    monkeypatch.setattr(rows_table, "LARGE_BYTES", 0 if stored else 2**25)
    rows = [{"text": f"row {n}", "meta": {"n": n}} for n in range(30)]
    texts = [json.dumps(row, indent=1) for row in rows]  # in 6 lines each
    path = tmp_path / "rows.json"
    for start, mark, end in (("[\n", ",\n", ",\n]"), ("", "\n", "")):
        path.write_text(start + mark.join(texts) + end)
        table = read(path)
        assert [fields for _, fields in table.rows] == rows
        first = 2 if start else 1
        assert [line for line, _ in table.rows][:2] == [first, first + 6]
        damaged = start + mark.join([*texts[:4], texts[4].replace('"meta"', "meta")]) + end
        path.write_text(damaged)
        with pytest.raises(DataError) as refused:
            read(path)
        assert refused.value.problems[0].where == f"{path}:{first + 26}"
    path.write_text(f"[{texts[0]}]\n{texts[1]}")
    assert [line for line, _ in read(path).rows] == [1, 7]
    path.write_text("[\n" + ",\n".join(texts)[:-20])  # the end is missing
    with pytest.raises(DataError) as refused:
        read(path)
    assert refused.value.problems[0].where == f"{path}:178"


ENCODED = {
    "latin-1": "Köln über Größe und Straße",
    "cp1252": "où est l’hôtel déjà payé par le garçon",
    "cp1250": "Zażółć gęślą jaźń proszę",
    "cp1251": "Где моя карта сегодня вечером",
    "utf-16": "Köln über Größe",
    "utf-32": "Köln über Größe",
    "utf-16-le": "Koln uber Strasse und Größe",
    "utf-16-be": "Koln uber Strasse und Größe",
    "utf-8-sig": "Köln über Größe",
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_file_in_another_encoding_is_read_and_a_guess_is_said(tmp_path, encoding):
    path = tmp_path / "rows.csv"
    text = "text,label\n" + "".join(f"{ENCODED[encoding]} {n},a\n" for n in range(20))
    path.write_bytes(text.encode(encoding))
    table = read(path)
    assert table.rows[3][1]["text"] == f"{ENCODED[encoding]} 3"
    certain = encoding in ("utf-16", "utf-32", "utf-8-sig")
    assert bool(table.cautions) != certain
    if encoding == "cp1251":
        assert "read as cp1251" in table.cautions[0]
        assert "(line 2, 3, 4 and 17 more)" in table.cautions[0]


def test_lines_of_two_encodings_are_each_read_in_their_own(tmp_path):
    path = tmp_path / "rows.csv"
    lines = [f"Größe {n},a".encode(("utf-8", "cp1252")[n % 2]) for n in range(20)]
    path.write_bytes(b"text,label\n" + b"\n".join(lines))
    assert [fields["text"] for _, fields in read(path).rows] == [f"Größe {n}" for n in range(20)]


def test_rows_of_a_table_that_do_not_fit_its_columns_are_listed(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,b\na,b,c\ntext,label\nd,e\nf\n")
    table = read(path)
    assert broken(table) == (
        (3, "more fields than there are columns", "a,b,c"),
        (4, "the line with names, repeated", "text,label"),
    )
    assert [line for line, _ in table.rows] == [2, 5, 6]


def test_a_first_line_that_is_a_sentence_is_no_header(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("Where is my card?,It is on its way.\nWho are you?,A bank.\n")
    assert read(path).rows[0][1]["column_1"] == "Where is my card?"


def test_a_workbook_gives_the_rows_of_its_first_sheet_with_any(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    second, third = book.create_sheet("data"), book.create_sheet("more")
    for sheet in (second, third):
        for row in (["text", "label", None], ["fine", 1, None], [None, None], ["bad", 0]):
            sheet.append(row)
    book.save(tmp_path / "rows.xlsx")
    table = read(tmp_path / "rows.xlsx")
    assert table.rows[1] == (4, {"text": "bad", "label": 0})
    assert "has more sheets (more), which are not read" in table.cautions[0]
    (tmp_path / "half.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, check=lambda error: error.code == "damaged-file"):
        read(tmp_path / "half.xlsx")


@pytest.mark.parametrize(
    ("line", "text", "encoding"),
    [
        ("Köln, Genève, señor".encode("cp1252"), "Köln, Genève, señor", "cp1252"),
        (b"undefined \x81 in cp1252", "undefined \x81 in cp1252", "cp1252"),
        (
            "Где моя карта сегодня вечером".encode("cp1251"),
            "Где моя карта сегодня вечером",
            "cp1251",
        ),
    ],
)
def test_a_line_that_is_not_utf8_is_read_by_itself_and_named(tmp_path, line, text, encoding):
    path = tmp_path / "rows.jsonl"
    lines = ['{"text": "Größe"}'.encode()] * 99
    lines[41:41] = [b'{"text": "' + line + b'"}']
    path.write_bytes(b"\n".join(lines))
    table = read(path)
    assert table.rows[41] == (42, {"text": text})
    assert {fields["text"] for _, fields in table.rows} == {text, "Größe"}
    (caution,) = table.cautions
    assert "(line 42)" in caution
    assert f" {encoding}," in caution


@pytest.mark.parametrize(
    ("name", "module"),
    [("x.parquet", "pyarrow"), ("x.arrow", "pyarrow"), ("x.xlsx", "python_calamine")],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path, monkeypatch, name, module
):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(NotInstalled) as refused:
        read(tmp_path / name)
    (problem,) = refused.value.problems
    assert problem.where == str(tmp_path / name)
    assert install_command("data") in problem.fix


def test_missing_files_and_folders_in_their_place_are_errors(tmp_path):
    with pytest.raises(DataError):
        read(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, check=lambda error: error.code == "no-file"):
        read(tmp_path / "folder.jsonl")


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.CSV.GZ", ".csv"), ("a.json.bak", None), ("README", None)]
)
def test_the_suffix_decides(tmp_path, name, suffix):
    assert data_suffix(tmp_path / name) == suffix
