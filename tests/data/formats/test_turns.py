"""Tool calls in every form that people write become the same messages."""

import json

import pytest

from sweeper.data.load_large import load
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
