"""Rows in other formats say the same when they are read again, or are refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.data.detect_columns import NULL_WORDS
from sweeper.data.rows import read_rows
from sweeper.data.write_rows import write_rows
from sweeper.errors import DataError
from sweeper.features.converting._formats import conversion
from sweeper.spec import DataSpec

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda text: text.strip() and text.strip() not in NULL_WORDS and text.strip()[0] not in "[{"
)
TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)
CONVERSATION = st.tuples(st.one_of(st.none(), WORDS), TURNS)


def write(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, task="instruction"):
    return read_rows(DataSpec(path=str(path)), task)


def converted(data, to, path):
    made = conversion(data, to, path.suffix)
    columns = list(dict.fromkeys(name for row in made.rows("train") for name in row))
    write_rows(path, made.rows("train"), columns)
    return path


def said(data):
    return [
        (one.messages, one.text, one.label, one.references, one.tests)
        for row in data.rows
        if (one := row.example)
    ]


def conversation(system, turns):
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    return {"messages": messages}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("to", ["messages", "sharegpt", "alpaca"])
@settings(max_examples=10)
@given(rows=st.lists(CONVERSATION, min_size=2, max_size=5))
def test_conversations_say_the_same_after_a_round_trip(tmp_path_factory, suffix, to, rows):
    folder = tmp_path_factory.mktemp("converted")
    source = read(write(folder, "rows.jsonl", [conversation(*row) for row in rows]))
    there = read(converted(source, to, folder / f"there{suffix}"))
    assert said(there) == said(source)
    back = read(converted(there, "messages", folder / "back.jsonl"))
    assert said(back) == said(source)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("to", ["prompt-completion", "alpaca", "messages", "sharegpt"])
def test_code_keeps_its_tests(tmp_path, suffix, to):
    rows = [
        {"prompt": f"Write f{n}.", "code": f"def f{n}(): ...", "test_list": ["assert 1", "f()"]}
        for n in range(20)
    ]
    source = read(write(tmp_path, "rows.jsonl", rows), "code")
    assert said(read(converted(source, to, tmp_path / f"new{suffix}"), "code")) == said(source)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("to", ["messages", "sharegpt"])
def test_tool_calls_with_arguments_that_differ_stay_what_they_are(tmp_path, suffix, to):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Do {n}."},
                {"role": "assistant", "tool_calls": [
                    {"function": {"name": "do", "arguments": {f"key {n % 2}": n}}}]},
                {"role": "tool", "content": "done"},
                {"role": "assistant", "content": "It is done."},
            ],
            "tools": [{"name": "do", "parameters": {"type": "object"}}],
        }
        for n in range(20)
    ]  # fmt: skip
    source = read(write(tmp_path, "rows.jsonl", rows))
    assert said(read(converted(source, to, tmp_path / f"new{suffix}"))) == said(source)
    if to == "messages":
        for row in rows:
            row["messages"][1]["weight"] = 0
        source = read(write(tmp_path, "weights.jsonl", rows))
        there = read(converted(source, to, tmp_path / f"weights-new{suffix}"))
        trained = [[turn.trained for turn in row.example.messages] for row in there.rows]
        assert trained == [[True, True, False, True, True]] * 20


def test_classes_and_several_answers_are_kept(tmp_path):
    rows = [{"text": f"text {n} of it", "label": "ab"[n % 2], "age": n} for n in range(20)]
    source = read(write(tmp_path, "labels.jsonl", rows), "classification")
    there = read(converted(source, "text-label", tmp_path / "new.parquet"), "classification")
    assert said(there) == said(source)
    assert [row.fields["age"] for row in there.rows] == list(range(20))
    rows = [{"question": f"Where is {n}?", "answer": ["here", "there"]} for n in range(20)]
    source = read(write(tmp_path, "answers.jsonl", rows))
    there = read(converted(source, "prompt-completion", tmp_path / "new.jsonl"))
    assert said(there) == said(source)


SEVERAL = conversation(None, [("a", "b"), ("c", "d")])
ONE = conversation(None, [("a", "b")])
CALL = {"messages": [{"role": "user", "content": "q"}, {
    "role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}]}  # fmt: skip
UNWEIGHTED = conversation(None, [("a", "b"), ("c", "d")])
UNWEIGHTED["messages"][1]["weight"] = 0


@pytest.mark.parametrize(
    ("row", "to", "suffix", "reason", "instead"),
    [
        (SEVERAL, "prompt-completion", ".jsonl", "several turns", "--to messages"),
        (SEVERAL, "text-label", ".jsonl", "more than one text and one answer", "--to messages"),
        (CALL, "alpaca", ".jsonl", "tool calls", "--to messages"),
        (UNWEIGHTED, "sharegpt", ".jsonl", "answers of weight 0", "--to messages"),
        (UNWEIGHTED, "alpaca", ".jsonl", "answers of weight 0", "--to messages"),
        (ONE, "text", ".jsonl", "a question with an answer", "--to messages"),
        (
            conversation(None, [("a", "N/A")]),
            "alpaca",
            ".csv",
            "a word such as NA",
            "--to messages",
        ),
    ],
)
def test_what_cannot_be_held_is_refused_with_its_rows(tmp_path, row, to, suffix, reason, instead):
    source = read(write(tmp_path, "rows.jsonl", [ONE] * 8 + [row] * 2))
    with pytest.raises(DataError) as error:
        conversion(source, to, suffix)
    text = str(error.value)
    bad = 10 if row is ONE else 2
    assert f"{bad} of 10 rows cannot be written as {to} in a {suffix} file" in text
    assert f"{reason}" in text
    assert instead in text


def test_rows_that_are_no_examples_and_columns_that_would_be_misread_are_said(sweeper, tmp_path):
    rows = [{"prompt": f"p {n}", "completion": "c", "text": "t", "id": n} for n in range(20)]
    rows[3]["prompt"] = ""
    path = write(tmp_path, "rows.jsonl", rows)
    ran = sweeper("data", "convert", str(path), "--to", "messages", "-o", str(tmp_path / "n.jsonl"))
    assert ran.code == 0
    assert "1 row is not written: it is empty (line 4)" in ran.out
    assert "Columns not written, since they would be read as part of messages: `text`" in ran.out
    written = [json.loads(line) for line in (tmp_path / "n.jsonl").read_text().splitlines()]
    assert len(written) == 19
    assert written[0]["id"] == 0


def test_without_a_format_only_the_kind_of_file_changes(sweeper, tmp_path):
    rows = [{"text": f"text number {n}", "label": n % 2, "more": None} for n in range(20)]
    path = write(tmp_path, "rows.jsonl", rows)
    new = tmp_path / "new.parquet"
    assert sweeper("data", "convert", str(path), "-o", str(new)).code == 0
    assert [dict(row.fields) for row in read(new, "classification").rows] == rows


def test_splits_become_a_folder(sweeper, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        write(folder, f"{split}.jsonl", [ONE] * 9)
    one = sweeper("data", "convert", str(folder), "--to", "alpaca", "-o", str(tmp_path / "a.csv"))
    assert "one file cannot keep the 2 splits of the data apart" in one.err
    new = tmp_path / "new"
    assert sweeper("data", "convert", str(folder), "--to", "alpaca", "-o", str(new)).code == 0
    assert sorted(path.name for path in new.iterdir()) == ["test.jsonl", "train.jsonl"]
