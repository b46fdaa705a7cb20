"""Tool calls in every form that people write become the same messages."""

import json

import pytest

from sweeper.data.load import load
from sweeper.data.tools import for_template
from sweeper.spec import DataSpec

ARGUMENTS = {"city": "Paris"}
FUNCTION = {"name": "weather", "arguments": ARGUMENTS}
TOOL = {"name": "weather", "parameters": {"type": "object"}}
OPENAI = {"type": "function", "function": TOOL}
ASKED, SAID = "How is the weather?", "18 degrees."


def openai(n, call):
    return [
        {"role": "user", "content": f"{ASKED} {n}"},
        {"role": "assistant", "content": None, **call},
        {"role": "tool", "content": "18"},
        {"role": "assistant", "content": SAID},
    ]


def sharegpt(n, call):
    return [
        {"from": "human", "value": f"{ASKED} {n}"},
        {"from": "function_call", "value": call},
        {"from": "observation", "value": "18"},
        {"from": "gpt", "value": SAID},
    ]


def calls(arguments):
    function = {"name": "weather", "arguments": arguments}
    return {"tool_calls": [{"type": "function", "function": function}]}


@pytest.mark.parametrize(
    ("turns", "tools"),
    [
        (lambda n: openai(n, calls(json.dumps(ARGUMENTS))), [OPENAI]),
        (lambda n: openai(n, calls(ARGUMENTS)), json.dumps([OPENAI])),
        (lambda n: openai(n, {"function_call": FUNCTION}), [TOOL]),
        (lambda n: sharegpt(n, json.dumps(FUNCTION)), json.dumps([TOOL])),
        (lambda n: sharegpt(n, json.dumps([FUNCTION])), [TOOL]),
    ],
)
def test_tool_calls_are_kept(tmp_path, turns, tools):
    path = tmp_path / "rows.jsonl"
    rows = [{"conversations": turns(n), "tools": tools} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = load(DataSpec(path=str(path)), "instruction")
    assert (dataset.rows, dataset.counts["form"]) == (30, 0)
    said, given = for_template(dataset.splits["train"][0].messages)
    assert given == [OPENAI]
    assert [turn["role"] for turn in said] == ["user", "assistant", "tool", "assistant"]
    assert said[1]["tool_calls"] == [{"type": "function", "function": FUNCTION}]
    assert (said[2]["content"], said[3]["content"]) == ("18", SAID)


def test_a_call_at_the_end_is_the_answer_that_a_model_should_write(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"messages": openai(n, calls(ARGUMENTS))[:2]} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (answer,) = load(DataSpec(path=str(path)), "instruction").splits["train"][0].references
    assert answer == f"<tool_call>\n{json.dumps(FUNCTION)}\n</tool_call>"


def test_a_call_that_cannot_be_read_is_counted_and_listed(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"conversations": sharegpt(n, json.dumps(FUNCTION))} for n in range(30)]
    rows[4] = {"conversations": sharegpt(4, "weather(Paris)")}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = load(DataSpec(path=str(path)), "instruction")
    assert (dataset.rows, dataset.counts["form"]) == (29, 1)
    assert any("a tool call without a name" in one and "line 5" in one for one in dataset.warnings)


def hosted(n, *weights, end=True):
    """A row as OpenAI's fine-tuning takes it, with a call, its result and two answers."""
    call = {"id": "call_1", **calls(json.dumps(ARGUMENTS))["tool_calls"][0]}
    turns = [
        {"role": "user", "content": f"{ASKED} {n}"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18"},
        {"role": "assistant", "content": SAID},
        {"role": "user", "content": "And in Rome?"},
        {"role": "assistant", "content": "25 degrees."},
    ]
    for turn, weight in zip((turns[1], turns[3], turns[5]), weights, strict=False):
        turn["weight"] = weight
    return {"messages": turns, "tools": [OPENAI], "parallel_tool_calls": False}


def loaded(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(DataSpec(path=str(path)), "instruction")


def test_answers_of_weight_0_are_read_but_not_trained_on(tmp_path):
    dataset = loaded(tmp_path, [hosted(n, 0, 1, 1) for n in range(30)])
    assert (dataset.rows, dataset.counts["form"]) == (30, 0)
    for split in dataset.splits.values():
        for example in split:
            answers = [m for m in example.messages if m.role == "assistant"]
            assert [m.trained for m in answers] == [False, True, True]
            assert example.answer == "25 degrees."


def test_what_follows_the_last_trained_answer_is_cut_off(tmp_path):
    dataset = loaded(tmp_path, [hosted(n, 1, 1, 0) for n in range(30)])
    assert {e.answer for e in dataset.splits["train"]} == {SAID}


def test_weights_make_other_content_but_keep_rows_together(tmp_path):
    rows = [row for n in range(60) for row in (hosted(n, 0, 0, 1), hosted(n, 1, 1, 1))]
    dataset = loaded(tmp_path, rows)
    assert dataset.counts["duplicates"] == 0
    assert dataset.counts["leakage"] == 0
    keys = [{e.key for e in split} for split in dataset.splits.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 60


def broken(**change):
    """A row one of whose messages was changed: ``_3={"role": "wizard"}``."""
    row = hosted(7)
    for number, fields in change.items():
        row["messages"][int(number[1:])] |= fields
    return row


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (broken(_3={"role": "wizard"}), "a turn of 'wizard'"),
        (broken(_2={"tool_call_id": "call_2"}), "a tool call without a result"),
        (
            {**hosted(7), "messages": [m for m in hosted(7)["messages"] if m["role"] != "tool"]},
            "where one of tool or user should come",
        ),
        (broken(_1={"tool_calls": calls("{city: Paris}")["tool_calls"]}), "arguments in JSON"),
        (broken(_1={"tool_calls": calls("[1]")["tool_calls"]}), "arguments in JSON"),
        (broken(_3={"weight": 0.5}), "a weight of 0.5"),
        (hosted(7, 0, 0, 0), "all weights are 0"),
    ],
)
def test_a_fault_of_a_hosted_row_names_file_and_line(tmp_path, row, reason):
    rows = [hosted(n) for n in range(30)]
    rows[4] = row
    dataset = loaded(tmp_path, rows)
    assert (dataset.rows, dataset.counts["form"]) == (29, 1)
    (fault,) = [one for one in dataset.faults if one.kind == "form"]
    assert fault.where == f"{tmp_path / 'rows.jsonl'}:5"
    assert reason in fault.text
