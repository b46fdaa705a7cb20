"""Rows that stay in their file are those that a list of them holds."""

import gzip
import json
import tracemalloc
from dataclasses import replace

import pytest

from sweeper.data import contents, table
from sweeper.data.contents import MAX_LINE_BYTES
from sweeper.data.reading import arrow, jsonrows
from sweeper.data.reading.read import read
from sweeper.data.table import LazySequence
from sweeper.errors import DataError

CONTENT = (
    b'\xef\xbb\xbf{"text": "caf\xc3\xa9", "label": "a"}\n\n  \n{"text": broken}\n'
    b'{"text": "one\xe2\x80\xa8line", "label": "b"}\n[1, 2]\n{"text": "lost \xff", "n": 1}\n'
    + b'{"text": "more", "label": "b"}\n' * 60
    + b'{"text": "no end of line"}'
)


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)


def in_memory(path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(table, "LARGE_BYTES", 2**40)
        return read(path)


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson"])
def test_rows_lines_and_columns_are_those_of_a_list(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CONTENT)
    listed, stored = in_memory(path), read(path)
    assert isinstance(stored.rows, LazySequence)
    assert not isinstance(listed.rows, LazySequence)
    assert tuple(stored.rows) == listed.rows
    assert [stored.rows[place] for place in range(len(stored.rows))] == list(listed.rows)
    assert tuple(stored.rows[::7]) == listed.rows[::7]
    assert stored.rows[-1] == (len(CONTENT.splitlines()), {"text": "no end of line"})
    assert stored.columns == listed.columns == ("text", "label", "n")
    assert (stored.broken, stored.cautions) == (listed.broken, listed.cautions)
    assert stored.broken[0][:3] == (4, "broken JSON", '{"text": broken}')
    assert [line for line, *_ in stored.broken] == [4, 6]
    assert listed.rows[2] == (7, {"text": "lost ÿ", "n": 1})
    assert "(line 7)" in listed.cautions[0]


def test_shards_are_joined(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for number, path in enumerate(paths):
        path.write_text("".join(f'{{"n": {number * 10 + one}}}\n' for one in range(9)))
    first, second = (read(path) for path in paths)
    both = first.concatenate(second)
    assert isinstance(both.rows, LazySequence)
    assert tuple(both.rows) == (*first.rows, *second.rows)
    assert both.rows[9] == second.rows[0]
    assert list(both.spread_rows(6)) == [{"n": int(n)} for n in ("0", "3", "6", "10", "13", "16")]


CSV = (
    b'\xef\xbb\xbftext,label\r\n"caf\xc3\xa9\r\nand ""more"" of it",a\r\n'
    b"\r\n,,\r\nshort\r\none,two,three\r\n"
    + b"text,label\r\n"
    + b'words,"a"\r\n' * 60
    + b"no end,b"
)
LATIN = "\n".join(json.dumps({"text": f"café {n}"}, ensure_ascii=False) for n in range(9)).encode(
    "latin-1"
)
TEXTS = {
    "x.csv": CSV,
    "x.tsv": b'a "quote\tb\n' * 5 + b"last\n",
    "quotes.csv": b'text,label\n"""d""",a\n' + b'"two\nlines",b\n' * 60,
    "x.CSV.gz": gzip.compress(CSV),
    "x.jsonl.gz": gzip.compress(CONTENT),
    "x.json": b'{"text": "one"}\n{"text": "two", "n": 2}\n',
    "latin.jsonl": LATIN,
    "latin.csv": b"text,caf\xe9\ncaf\xe9,a\nword,b",
}


def _same(listed, stored):
    assert isinstance(stored.rows, LazySequence)
    assert not isinstance(listed.rows, LazySequence)
    assert tuple(stored.rows) == listed.rows
    places = [*range(len(stored.rows)), *reversed(range(len(stored.rows)))]
    assert [stored.rows[place] for place in places] == [listed.rows[place] for place in places]
    assert stored.columns == listed.columns
    assert [one[:2] for one in stored.broken] == [one[:2] for one in listed.broken]
    assert all(
        one.text.startswith(part.text[:20])
        for one, part in zip(listed.broken, stored.broken, strict=True)
    )
    for name in ("how", "cautions", "label_names"):
        assert getattr(stored, name) == getattr(listed, name)


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_every_kind_is_read_as_a_list_of_it_is(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TEXTS[name])
    listed, stored = in_memory(path), read(path)
    _same(listed, stored)
    assert bool(listed.cautions) == (name in ("latin.jsonl", "latin.csv", "x.jsonl.gz"))
    broken = {"x.csv": [7, 8], "x.CSV.gz": [7, 8], "x.jsonl.gz": [4, 6]}
    assert [line for line, *_ in listed.broken] == broken.get(name, [])


@pytest.mark.parametrize("line", ['{"n": 1}', "words,a"])
def test_a_pass_over_the_rows_keeps_nothing_of_them(tmp_path, line):
    path = tmp_path / ("x.jsonl" if line.startswith("{") else "x.csv")
    path.write_text("text,label\n" * (path.suffix == ".csv") + f"{line}\n" * 5000)
    rows = read(path).rows
    tracemalloc.start()
    assert sum(1 for _ in rows) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_batches_are_read_as_a_list_of_them_is(tmp_path, monkeypatch, kind):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    monkeypatch.setattr(arrow, "BATCH_ROWS", 4)
    about = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}}}}
    rows = pyarrow.table(
        {"text": [f"text {n}" if n % 7 else None for n in range(30)], "label": [0, 1] * 15}
    ).replace_schema_metadata({"huggingface": json.dumps(about)})
    path = tmp_path / f"x.{kind.replace('stream', 'arrow')}"
    if kind == "parquet":
        parquet.write_table(rows, path, row_group_size=11)
    else:
        new = ipc.new_stream if kind == "stream" else ipc.new_file
        with new(str(path), rows.schema) as file:
            file.write_table(rows, max_chunksize=11)
    listed, stored = in_memory(path), read(path)
    _same(listed, stored)
    assert listed.label_names == {"label": ("no", "yes")}
    path.write_bytes(path.read_bytes()[:-60] if kind == "parquet" else path.read_bytes()[:900])
    with pytest.raises(DataError, check=lambda error: error.code == "damaged-file"):
        read(path)


ITEMS = [{"text": f"row {n} caf\u00e9 \u4e2d", "more": [{"n": n}, {"n": "x"}]} for n in range(40)]
LIST = json.dumps(ITEMS, ensure_ascii=False)
PRETTY = json.dumps(ITEMS, indent=1, ensure_ascii=False)
WIDE_CSV = 'text,label\n"two\nlines",a\n' + "words caf\u00e9,b\n" * 40


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("x.jsonl", LIST.encode(), 3),
        ("x.json", LIST.encode("utf-8-sig"), 3),
        ("x.json", PRETTY.encode(), 24),
        ("x.json", f'{{"version": [1], "data": {PRETTY}, "n": {{}}}}'.encode(), 24),
        ("x.jsonl", PRETTY[2:-2].replace('},\n {\n  "t', '}\n{\n  "t').encode(), 23),
        ("x.json", LIST.replace("[{", "[7, {", 1).encode(), 4),
        ("x.json", LIST.encode("utf-16"), 3),
        ("x.json", f"{LIST}\n{LIST}".encode(), 3),
        ("x.json", LIST.replace("\u4e2d", "").encode("cp1252"), 3),
        ("x.jsonl", "".join(f"{json.dumps(i)}\n" for i in ITEMS).encode("utf-16-le"), 3),
        ("x.csv", WIDE_CSV.encode("utf-16"), 5),
        ("x.json.gz", gzip.compress(LIST.encode()), 3),
    ],
)
def test_files_that_are_no_lines_of_utf8_are_read_as_a_list_of_them_is(
    tmp_path, monkeypatch, name, content, line
):
    monkeypatch.setattr(contents, "CHUNK_BYTES", 50)
    monkeypatch.setattr(jsonrows, "MIN_READ_CHARACTERS", 50)
    (tmp_path / name).write_bytes(content)
    listed, stored = in_memory(tmp_path / name), read(tmp_path / name)
    assert isinstance(stored.rows, LazySequence)
    assert stored.rows[2][0] == line
    assert len({number for number, _ in stored.rows}) == len(stored.rows)
    _same(replace(listed, cautions=stored.cautions), stored)
    assert len(stored.cautions) == len(listed.cautions)


def test_an_excel_sheet_is_read_as_a_list_of_it_is(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["A title"], [], ["text", "label"], ["a", 1], [], ["b\nc", 2.5], ["d", None]):
        book.active.append(cells)
    book.save(tmp_path / "x.xlsx")
    listed, stored = in_memory(tmp_path / "x.xlsx"), read(tmp_path / "x.xlsx")
    assert isinstance(stored.rows, LazySequence)
    _same(listed, stored)
    assert [line for line, _ in stored.rows] == [4, 6, 7]
    assert stored.how == ["the sheet 'Sheet', names in line 3; left out above: 'A title'"]


def test_damaged_gzip_is_refused(tmp_path):
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataError, check=lambda error: error.code == "damaged-file"):
        read(tmp_path / "x.jsonl.gz")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{broken}\n" * 3 + b'{"a": 1}\n', "x.jsonl:1: broken JSON"),
        (json.dumps(dict.fromkeys(map(str, range(10_001)))).encode(), "more than 10,000 columns"),
        (b'{"a": 1}\n{"a": "' + b"a" * 2000 + b'"}', "x.jsonl:2: this line has"),
    ],
)
def test_errors_name_file_and_line(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(contents, "MAX_LINE_BYTES", 1000 if b"aaa" in content else MAX_LINE_BYTES)
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(path)
    assert said in str(refused.value)
