"""Rows become items: the same ones every time, every bad row named, nothing guessed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import DataError
from sweeper.suite.definition import Suite, SuiteTask
from sweeper.suite.items import _fill, extract, load_items
from sweeper.suite.scores import task_digest


@pytest.fixture
def load(tmp_path):
    """``load(rows, kind=..., ...)``: items of a task over these rows."""

    def run(rows, name="rows.jsonl", **task):
        path = tmp_path / name
        if not isinstance(rows, str):
            rows = "\n".join(json.dumps(row) for row in rows)
        path.write_text(rows)
        suite = Suite(folder=str(tmp_path), tasks={"t": SuiteTask(file=name, **task)})
        return load_items(suite, "t")

    return run


QUESTION = {"question": "Which?", "choices": ["red", "blue", "7"]}


@pytest.mark.parametrize(
    ("answer", "index"),
    [(1, 1), ("B", 1), ("b", 1), ("blue", 1), ("2", 2), (2.0, 2), ("7", 2), (0, 0)],
)
def test_an_answer_is_an_index_a_letter_or_the_choice_itself(load, answer, index):
    items = load([{**QUESTION, "answer": answer}], kind="multiple-choice")
    assert items.docs[0]["answer"] == index
    assert items.docs[0]["prompt"] == "Question: Which?\nAnswer:"


@pytest.mark.parametrize("answer", [3, "D", "green", -1, 1.5, "", None, True])
def test_an_answer_that_is_no_choice_is_named_with_its_line(load, answer):
    with pytest.raises(DataError) as caught:
        load([{**QUESTION, "answer": 0}, {**QUESTION, "answer": answer}], kind="multiple-choice")
    assert caught.value.problems[0].where.endswith("rows.jsonl:2")


def test_choices_may_lie_in_several_columns_or_in_a_cell(load):
    table = 'q,a,b,right\n"Which?",red,blue,b\n'
    columns = {"question": "q", "choices": ("a", "b"), "answer": "right"}
    items = load(table, "rows.csv", kind="multiple-choice", columns=columns)
    assert (items.docs[0]["choices"], items.docs[0]["answer"]) == (["red", "blue"], 1)
    cell = 'question,choices,answer\n"Which?","[""red"", ""blue""]",blue\n'
    assert load(cell, "cell.csv", kind="multiple-choice").docs[0]["choices"] == ["red", "blue"]


def test_letters_are_shown_with_their_choices(load):
    doc = load([{**QUESTION, "answer": "C"}], kind="multiple-choice", letters=True).docs[0]
    assert doc["prompt"] == "Which?\nA. red\nB. blue\nC. 7\nAnswer:"
    assert doc["choices"] == ["A", "B", "C"]


def test_code_brings_its_call_with_the_tests(load):
    row = {"prompt": "def f():\n", "test": "def check(f): pass", "entry_point": "f"}
    doc = load([row], kind="code", columns={"tests": "test"}, call="check({entry_point})").docs[0]
    assert doc["tests"] == "def check(f): pass\ncheck(f)"
    assert doc["program"] == "def f():\n"


def test_a_missing_column_is_named_with_the_nearest_one(load):
    with pytest.raises(DataError, match="Did you mean 'answers'") as caught:
        load([{"question": "a", "answers": "b"}], kind="generation", prompt="{qestion}")
    assert len(caught.value.problems) == 2


def test_a_limit_takes_the_same_items_wherever_they_stand(load):
    rows = [{"text": f"text {n}"} for n in range(50)]
    first = {doc["key"] for doc in load(rows, kind="text", limit=10).docs}
    second = {doc["key"] for doc in load(rows[::-1], kind="text", limit=10).docs}
    assert first == second
    assert len(first) == 10
    assert load(rows, kind="text", limit=10).total == 50


def test_solved_examples_are_never_among_the_items(load):
    rows = [{"question": f"q{n}", "answer": str(n)} for n in range(9)]
    items = load(rows, kind="generation", limit=6, fewshot=3)
    keys = {doc["key"] for doc in items.docs} | {doc["key"] for doc in items.shots}
    assert len(keys) == 9
    with pytest.raises(DataError, match="2 are left to take"):
        load(rows, kind="generation", limit=7, fewshot=3)


def test_the_same_row_twice_counts_once(load):
    assert load([{"text": "a"}, {"text": "a"}, {"text": "b"}], kind="text").total == 2


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"#### (\S+)", "1 #### 2 #### 3", "3"),
        (r"\d+", "a 12 b 7.", "7"),
        (r"\d+", "none", None),
    ],
)
def test_the_last_match_is_the_answer(pattern, text, found):
    assert extract(pattern, text) == found


def test_an_answer_pattern_must_fit_the_references(load):
    with pytest.raises(DataError, match="does not match the answer"):
        load([{"question": "a", "answer": "18"}], kind="generation", answer_pattern="#### (.*)")


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_templates_never_fail(template, fields):
    assert isinstance(_fill(template, {"question": "q"}, fields), str)


def test_a_digest_follows_items_and_way_of_scoring_and_not_the_files_name(load):
    rows = [{"text": "a"}, {"text": "b"}]

    def digest(rows, name="rows.jsonl", **keys):
        task = SuiteTask(file=name, kind="text", **keys)
        return task_digest(task, load(rows, name, kind="text", **keys), chat_template=False)

    assert digest(rows) == digest(rows, "other.jsonl")
    assert digest(rows) != digest([*rows, {"text": "c"}])
    assert digest(rows) != digest(rows, limit=1)


@pytest.mark.parametrize("name", ["mmlu_subset", "gsm8k", "humaneval", "pubmedqa"])
def test_real_sets_become_items(shared_data, name):
    task = {
        "mmlu_subset": SuiteTask(file="test.jsonl", kind="multiple-choice", fewshot=5,
                                 fewshot_file="fewshot_dev.jsonl"),
        "gsm8k": SuiteTask(file="test.jsonl", kind="generation", answer_pattern=r"#### (\S+)"),
        "humaneval": SuiteTask(file="test.jsonl", kind="code", columns={"tests": "test"},
                               call="check({entry_point})"),
        "pubmedqa": SuiteTask(file="corpus.jsonl", kind="text"),
    }[name]  # fmt: skip
    items = load_items(Suite(folder=str(shared_data / name), tasks={"t": task}), "t")
    # One row of mmlu_subset is there twice.
    expected = {"mmlu_subset": 1139, "gsm8k": 1319, "humaneval": 164, "pubmedqa": 500}
    assert items.total == expected[name]
