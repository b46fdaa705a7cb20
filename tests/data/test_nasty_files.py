"""A corpus of nasty files: each is read, and no row disappears without a word."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.examples import SPLITS
from sweeper.data.load import load
from sweeper.data.reading.read import read
from sweeper.data.rows import read_rows
from sweeper.spec import DataSpec

ROWS = [(f"this is a café text, number {n}; it goes on", f"class {n % 3}") for n in range(60)]
TURNS = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is."}]


def cells(rows, header=("text", "label"), delimiter=",", quoting=csv.QUOTE_MINIMAL):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([header, *rows] if header else rows)
    return file.getvalue()


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def mixed_bytes(text):
    whole = text.encode().splitlines(keepends=True)
    return b"".join(
        line.decode().encode("latin-1") if n % 3 == 1 else line for n, line in enumerate(whole)
    )


CSV = cells(ROWS)
CLASSIFICATION = {
    "bom.csv": CSV.encode("utf-8-sig"),
    "utf16.csv": CSV.encode("utf-16"),
    "latin1.csv": CSV.encode("latin-1"),
    "mixed_bytes.csv": mixed_bytes(CSV),
    "semicolons.csv": cells(ROWS, delimiter=";").encode(),
    "tabs.tsv": cells(ROWS, delimiter="\t").encode(),
    "bars.csv": cells(ROWS, delimiter="|", quoting=csv.QUOTE_ALL).encode(),
    "packed.csv.gz": gzip.compress(CSV.encode()),
    "windows.csv": CSV.replace("\n", "\r\n").encode(),
    "no_header.csv": cells(ROWS, header=None).encode(),
    "index.csv": cells([(n, *row) for n, row in enumerate(ROWS)], ("", "text", "label")).encode(),
    "unnamed.csv": cells(
        [(n, *row) for n, row in enumerate(ROWS)], ("Unnamed: 0", "text", "label")
    ).encode(),
    "lists.json": json.dumps([{"text": t, "label": c} for t, c in ROWS]).encode(),
}


def everything(dataset):
    return [example for split in SPLITS for example in dataset.splits[split]]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_every_row_of_a_whole_file_is_read_as_it_was_meant(tmp_path, name):
    (tmp_path / name).write_bytes(CLASSIFICATION[name])
    dataset = load(DataSpec(path=str(tmp_path / name)), "classification")
    assert {(one.text, one.label) for one in everything(dataset)} == set(ROWS)
    assert dataset.counts == {}


@pytest.mark.parametrize("word", ["NA", "null", "None", "n/a", "-", " NaN "])
@pytest.mark.parametrize("column", [0, 1])
def test_a_word_for_nothing_is_an_empty_cell(tmp_path, word, column):
    rows = [list(row) for row in ROWS]
    rows[7][column] = word
    (tmp_path / "rows.csv").write_text(cells(rows))
    dataset = load(DataSpec(path=str(tmp_path / "rows.csv")), "classification")
    assert (dataset.rows, dataset.counts["empty"]) == (59, 1)
    assert any("left out: no text or no answer (line 9)" in said for said in dataset.warnings)


def test_a_word_that_many_rows_have_is_a_class(tmp_path):
    rows = [(text, "None" if label == "class 0" else label) for text, label in ROWS]
    (tmp_path / "rows.csv").write_text(cells(rows))
    dataset = load(DataSpec(path=str(tmp_path / "rows.csv")), "classification")
    assert (dataset.rows, dataset.labels) == (60, ("None", "class 1", "class 2"))
    assert any("'None' in `label` is read as a value" in said for said in dataset.evidence)


def test_a_spreadsheet_with_words_for_nothing_and_repeated_names(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("text", "label", "label", None), *((*row, "other", 1) for row in ROWS)]:
        book.active.append(row)
    book.active.append(("a text", "NA", "other", 1))
    book.save(tmp_path / "rows.xlsx")
    dataset = load(DataSpec(path=str(tmp_path / "rows.xlsx")), "classification")
    assert (dataset.rows, dataset.counts["empty"], len(dataset.labels)) == (60, 1, 3)
    assert "not used: `label_3`, `column_4`" in dataset.evidence


def test_json_says_nothing_with_null_so_that_its_words_are_meant(tmp_path):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    rows[5]["text"] = "None"
    rows[6]["text"] = None
    (tmp_path / "rows.jsonl").write_text(lines(rows))
    dataset = load(DataSpec(path=str(tmp_path / "rows.jsonl")), "classification")
    assert (dataset.rows, dataset.counts["empty"]) == (59, 1)


def test_repeated_headers_and_long_rows_are_left_out_and_listed(tmp_path):
    text = cells([*ROWS[:20], ("text", "label"), *ROWS[20:], ("a", "b", "c")])
    (tmp_path / "rows.csv").write_text(text)
    dataset = load(DataSpec(path=str(tmp_path / "rows.csv")), "classification")
    assert (dataset.rows, dataset.counts["unreadable"]) == (60, 2)
    said = " ".join(dataset.warnings)
    assert "the line with names, repeated (line 22)" in said
    assert "more fields than there are columns (line 63)" in said


ANSWERS = {"text": ["here", "there"], "answer_start": [3, 9]}
SQUAD = {"context": "It is here, or there.", "question": "Where is it?"}
INSTRUCTION = {
    "json_turns.csv": cells([[json.dumps(TURNS)]] * 30, ("messages",)),
    "python_turns.csv": cells([[repr(TURNS)]] * 30, ("messages",)),
    "squad.jsonl": lines([{**SQUAD, "answers": ANSWERS}] * 30),
    "squad_list.jsonl": lines([{**SQUAD, "answers": ANSWERS["text"]}] * 30),
    "squad.csv": cells([[*SQUAD.values(), repr(ANSWERS)]] * 30, (*SQUAD, "answers")),
    "summaries.jsonl": lines([{"dialogue": "A: hello", "summary": "Greetings."}] * 30),
    "flan.jsonl": lines([{"inputs": "Say hello.", "targets": "hello"}] * 30),
    "translation.jsonl": lines([{"translation": {"en": "hello", "de": "hallo"}}] * 30),
    "both.jsonl": lines(
        [{"messages": TURNS}, {"instruction": "What is it?", "output": "It is."}] * 15
    ),
}


@pytest.mark.parametrize(
    ("name", "asked", "answer", "references"),
    [
        ("json_turns.csv", "What is it?", "It is.", ()),
        ("python_turns.csv", "What is it?", "It is.", ()),
        *(
            (name, "Where is it?\nIt is here, or there.", "here", ("here", "there"))
            for name in ("squad.jsonl", "squad_list.jsonl", "squad.csv")
        ),
        ("summaries.jsonl", "A: hello", "Greetings.", ()),
        ("flan.jsonl", "Say hello.", "hello", ()),
        ("translation.jsonl", "hello", "hallo", ()),
        ("both.jsonl", "What is it?", "It is.", ()),
    ],
)
def test_question_and_answer_are_found(tmp_path, name, asked, answer, references):
    (tmp_path / name).write_text(INSTRUCTION[name])
    spec = DataSpec(path=str(tmp_path / name))
    examples = [row.example for row in read_rows(spec, "instruction").rows]
    assert len(examples) == 30
    assert {one.messages[-2].content for one in examples} == {asked}
    assert {one.answer for one in examples} == {answer}
    assert {one.references for one in examples} == {references}


@pytest.mark.parametrize(
    "tests", [["assert f() == 1", "assert f()"], "assert f() == 1\nassert f()"]
)
def test_tests_of_code_are_kept_in_either_column_and_as_text_of_a_cell(tmp_path, tests):
    name, cell = ("test_list", repr(tests)) if isinstance(tests, list) else ("test", tests)
    text = cells([["Write f.", "def f(): return 1", cell]] * 20, ("prompt", "code", name))
    (tmp_path / "rows.csv").write_text(text)
    (row, *_) = read_rows(DataSpec(path=str(tmp_path / "rows.csv")), "code").rows
    assert "\n".join(row.example.tests) == "assert f() == 1\nassert f()"


def test_a_part_of_an_object_can_stand_in_a_template(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        lines([{"translation": {"en": f"hello {n}", "de": f"hallo {n}"}} for n in range(30)])
    )
    columns = {"prompt": "{translation.de}", "completion": "{translation.en}"}
    dataset = load(DataSpec(path=str(tmp_path / "rows.jsonl"), columns=columns), "instruction")
    assert dataset.splits["train"][0].messages[0].content.startswith("hallo")
    assert not any("not used" in said for said in dataset.evidence)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1
)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=20),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_quoted_file_is_read_whatever_its_delimiter_and_encoding(
    tmp_path_factory, rows, delimiter, encoding, ending
):
    path = tmp_path_factory.mktemp("nasty") / "rows.csv"
    text = cells(rows, ("prompt", "completion"), delimiter, csv.QUOTE_ALL).replace("\n", ending)
    path.write_bytes(text.encode(encoding))
    found = [tuple(fields.values()) for _, fields in read(path).rows]
    assert found == rows
