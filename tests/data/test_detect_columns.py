"""What columns mean is recognised with its evidence, or refused with what to write instead."""

import pytest

from sweeper.data.detect_columns import detect
from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.spec import DataSpec

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def table(*rows, times=60):
    return RowTable("rows.jsonl", tuple(enumerate(list(rows) * times, start=1)))


def form(row, task="instruction", **spec):
    return detect(table(row), task, DataSpec(**spec))


RECOGNISED = [
    # task, row, format, columns
    (
        "classification",
        {"text": "t", "label": "a"},
        "text-label",
        {"text": "text", "label": "label"},
    ),
    (
        "classification",
        {"sentence1": "s", "sentence2": "t", "label": 1, "idx": 3},
        "text-label",
        {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
    ),
    (
        "classification",
        {"id": 7, "text": "t", "label": 0, "label_text": "no"},
        "text-label",
        {"text": "text", "label": "label_text"},
    ),
    (
        "classification",
        {"headline": "some words here", "category": "sport", "year": 1999},
        "text-label",
        {"text": "headline", "label": "category"},
    ),
    (
        "classification",
        {"query": "q", "intent": True},
        "text-label",
        {"text": "query", "label": "intent"},
    ),
    (
        "instruction",
        {"instruction": "do", "input": "on", "output": "done", "text": "whole"},
        "instruction",
        {"instruction": "instruction", "input": "input", "output": "output"},
    ),
    (
        "instruction",
        {"INSTRUCTION": "do", "RESPONSE": "done"},
        "instruction",
        {"instruction": "INSTRUCTION", "output": "RESPONSE"},
    ),
    (
        "instruction",
        {"system_prompt": "s", "question": "q", "response": "r"},
        "instruction",
        {"system": "system_prompt", "instruction": "question", "output": "response"},
    ),
    (
        "instruction",
        {"context": "c", "question": "q", "answer": "a"},
        "instruction",
        {"instruction": "question", "input": "context", "output": "answer"},
    ),
    (
        "instruction",
        {"input": "i", "output": "o"},
        "prompt-completion",
        {"prompt": "input", "completion": "output"},
    ),
    (
        "instruction",
        {"source": "s", "target": "t"},
        "prompt-completion",
        {"prompt": "source", "completion": "target"},
    ),
    (
        "instruction",
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        "prompt-completion",
        {"prompt": "prompt", "completion": "completion"},
    ),
    (
        "instruction",
        {"conversations": SHARED, "system": "s"},
        "messages",
        {"messages": "conversations", "system": "system"},
    ),
    ("instruction", {"messages": TURNS, "prompt": "p"}, "messages", {"messages": "messages"}),
    (
        "instruction",
        {"chat": '[{"role": "user", "content": "q"}]'},
        "messages",
        {"messages": "chat"},
    ),
    (
        "code",
        {"text": "write", "code": "x = 1", "task_id": 3, "test_list": ["assert x"]},
        "prompt-completion",
        {"prompt": "text", "completion": "code", "tests": "test_list"},
    ),
    (
        "code",
        {"prompt": "def f():", "canonical_solution": " pass", "test": "t", "entry_point": "f"},
        "prompt-completion",
        {"prompt": "prompt", "completion": "canonical_solution", "tests": "test"},
    ),
    ("domain", {"doc_id": "3", "content": "words"}, "text", {"text": "content"}),
]


@pytest.mark.parametrize(("task", "row", "expected", "columns"), RECOGNISED)
def test_the_usual_columns_are_recognised(task, row, expected, columns):
    found = form(row, task)
    assert (found.format, found.columns) == (expected, columns)
    assert "100% of the 60 rows looked at" in found.evidence[0]
    for column in columns.values():
        assert f"`{column}`" in found.evidence[0]


def test_text_with_chat_markers_is_not_templated_again():
    row = {"text": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>"}
    found = form(row)
    assert (found.format, found.templated) == ("text", True)
    assert any("already holds chat markers" in line for line in found.evidence)
    assert not form({"text": "plain"}, "domain").templated


def test_half_of_the_rows_are_enough_and_fewer_are_not():
    good, bad = {"prompt": "p", "completion": "c"}, {"prompt": "p"}
    mostly = RowTable("rows", tuple(enumerate([good] * 95 + [bad] * 5, start=1)))
    assert detect(mostly, "instruction", DataSpec()).format == "prompt-completion"
    found = detect(
        RowTable("rows", tuple(enumerate([good] * 50 + [bad] * 50, start=1))),
        "instruction",
        DataSpec(),
    )
    assert "(50% of the 100 rows looked at fit this)" in found.evidence[0]
    partly = RowTable("rows", tuple(enumerate([good] * 49 + [bad] * 51, start=1)))
    with pytest.raises(DataError, check=lambda error: error.code == "unrecognised-form"):
        detect(partly, "instruction", DataSpec())


def test_scores_of_which_most_are_whole_numbers_are_no_classes():
    rows = [{"text": "t", "label": 4.0}] * 80 + [{"text": "t", "label": 3.5}] * 20
    with pytest.raises(DataError, check=lambda error: error.code == "unrecognised-form"):
        detect(RowTable("rows", tuple(enumerate(rows, start=1))), "classification", DataSpec())


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "`chosen` and `rejected`"),
        ({"messages": TURNS, "kto_tag": True}, "`kto_tag`"),
        ({"prompt": "p", "completion": "c", "label": True}, "a true or false `label`"),
        ({"prompt": "p", "completions": ["a"], "labels": [True]}, "stepwise"),
    ],
)
def test_preference_data_is_refused_as_what_it_is(row, said):
    with pytest.raises(DataError, check=lambda error: error.code == "preference-data") as error:
        form(row)
    assert said in str(error.value)


def test_the_chosen_answers_of_preference_data_can_be_trained_on():
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    found = form(row, columns={"prompt": "prompt", "completion": "chosen"})
    assert found.columns == {"prompt": "prompt", "completion": "chosen"}
    assert found.evidence[1] == "named by you: prompt, chosen"


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        (
            "classification",
            {"a": "x", "b": 3},
            [
                "`a` (text)",
                "`b` (whole number)",
                "--column text=COLUMN --column label=COLUMN, or",
                "columns: {text: COLUMN, label: COLUMN}",
            ],
        ),
        ("classification", {"text": "t", "labels": ["a", "b"]}, ["multi-label"]),
        ("classification", {"text": "t", "label": 0.4}, ["a score to predict"]),
        (
            "classification",
            {"question": "q", "answer": "a"},
            ["needs text-label", "fit the format prompt-completion"],
        ),
        (
            "instruction",
            {"text": "t", "label": "a"},
            ["needs messages or", "fit the format text-label"],
        ),
        ("instruction", {"text": "t"}, ["nothing in it says where an answer begins"]),
    ],
)
def test_what_is_not_recognised_names_its_columns_and_what_to_write(task, row, said):
    with pytest.raises(DataError, check=lambda error: error.code == "unrecognised-form") as error:
        form(row, task)
    for part in said:
        assert part in str(error.value)


def test_what_the_user_states_wins():
    row = {"text": "t", "label": "a", "question": "q", "kind": "k", "answer": "a"}
    found = form(row, "classification", columns={"text": "question", "label": "kind"})
    assert found.columns == {"text": "question", "label": "kind"}
    found = form(row, "classification", columns={"text": "question"})
    assert found.columns == {"text": "question", "label": "label"}
    found = form(row, "instruction", format="prompt-completion")
    assert found.columns == {"prompt": "question", "completion": "answer"}
    assert form({"conversations": SHARED}, format="sharegpt").format == "messages"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"columns": {"txt": "a", "label": "lable"}},
            [
                "'txt' is not a role",
                "Did you mean 'text'",
                "no column 'lable'",
                "Did you mean 'label'",
            ],
        ),
        ({"format": "alpacca"}, ["'alpacca' is not a data format", "Did you mean 'alpaca'"]),
        ({"format": "messages"}, ["the task classification needs text-label"]),
    ],
)
def test_a_mistake_in_what_is_stated_is_named_with_its_near_match(spec, said):
    with pytest.raises(DataError) as error:
        form({"text": "a", "label": "b"}, "classification", **spec)
    for part in said:
        assert part in str(error.value)


def test_a_domain_text_that_fits_too_few_rows_is_refused():
    rows = [{"text": "words"}] * 40 + [{"text": {"no": "text"}}] * 60
    mostly = RowTable("rows", tuple(enumerate(rows, start=1)))
    with pytest.raises(DataError, check=lambda error: error.code == "unrecognised-form"):
        detect(mostly, "domain", DataSpec())


def test_one_column_is_not_both_the_text_and_its_label():
    with pytest.raises(DataError, check=lambda error: error.code == "unrecognised-form"):
        form({"label": "some words"}, "classification", columns={"text": "label"})
