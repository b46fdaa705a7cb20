import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client

from sweeper.features.mcp._server import server
from sweeper.features.mcp._tools import TOOLS

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.fixture
def call(here, no_hub) -> Callable[..., dict[str, Any]]:
    """Call a tool through the server, as an agent does."""
    import anyio

    async def asked(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        async with Client(server()) as client:
            answer = await client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content

    return lambda tool, **arguments: anyio.run(asked, tool, arguments)


def test_every_tool_has_a_description_and_schemas():
    import anyio

    async def listed():
        async with Client(server()) as client:
            return (await client.list_tools()).tools

    tools = anyio.run(listed)
    assert [one.name for one in tools] == [tool.__name__ for tool in TOOLS]
    for one in tools:
        assert one.description
        assert set(one.output_schema["properties"]) == {"ok", "exit_code", "answer", "messages"}


def test_a_plan_has_candidates_with_memory_and_defaults(call):
    made = call("plan", task="instruction", model="7B", examples=2000, gpu_memory=24)
    assert (made["ok"], made["exit_code"]) == (True, 0)
    answer = made["answer"]
    first = answer["candidates"][0]
    assert answer["recommended"] == first["strategy"]
    low, high, limit = first["memory_gib"]
    assert low < high <= limit == 24
    assert first["defaults"]["learning_rate"] > 0
    assert len(json.dumps(answer)) < 20_000


def test_what_fits_nowhere_has_its_exit_code_and_message(call):
    made = call("plan", task="instruction", model="70B", examples=2000, gpu_memory=8)
    assert (made["ok"], made["exit_code"]) == (False, 3)
    assert made["answer"]["candidates"] == []
    assert made["answer"]["rejected"]
    assert "GiB" in made["messages"]


def test_memory_and_review_and_data_answer(call):
    assert call("memory", model="7B", gpu_memory=80)["answer"]["fits"] is True
    Path("a.yaml").write_text("base_model: gpt2\nadapter: qlora\nlearning_rate: 2e-4\nlora_r: 8\n")
    made = call("review", file="a.yaml")
    assert made["exit_code"] == 5
    assert "qlora-without-4bit" in [one["kind"] for one in made["answer"][0]["findings"]]
    rows = [{"text": f"about {n % 5}", "label": "ab"[n % 2]} for n in range(40)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("check_data", path="rows.jsonl")["answer"]["findings"]


@pytest.mark.parametrize("path", ["--help", "-", "missing.jsonl", "a\x00b", "x" * 5000])
def test_a_value_is_never_a_flag_and_a_bad_one_is_an_answer(call, path):
    made = call("check_data", path=path)
    assert (made["ok"], made["answer"]) == (False, None)
    assert made["messages"]
    assert "Traceback" not in made["messages"]


@pytest.mark.parametrize("name", ["", "../up", "-n", "a b", "a/b", "x" * 99])
def test_a_run_with_a_bad_name_writes_nothing(call, name):
    made = call("run", name=name, task="instruction", model="7B", data="rows.jsonl")
    assert (made["ok"], made["exit_code"]) == (False, 2)
    assert not Path("runs").exists()


def test_a_run_that_is_refused_says_why(call):
    made = call("run", name="one", task="instruction", model="7B", data="missing.jsonl")
    assert (made["ok"], made["exit_code"]) == (False, 2)
    assert made["messages"]


def test_there_is_no_verdict_of_a_run_that_is_not_there(call):
    assert call("verdict", name="nothing")["exit_code"] == 2
    assert call("status", name="nothing")["ok"] is False


@pytest.mark.parametrize("tool", [tool.__name__ for tool in TOOLS])
def test_an_unknown_argument_is_refused_by_its_name(here, no_hub, tool):
    import anyio

    async def asked():
        async with Client(server()) as client:
            (listed,) = [one for one in (await client.list_tools()).tools if one.name == tool]
            needed = dict.fromkeys(listed.input_schema["required"], "classification")
            return listed, await client.call_tool(tool, {**needed, "gpus_wanted": 4})

    listed, answer = anyio.run(asked)
    assert listed.input_schema["additionalProperties"] is False
    assert answer.is_error
    assert "gpus_wanted" in answer.content[0].text
    assert not Path("runs").exists()


@pytest.mark.parametrize(("key", "value"), [("budget", "plenty"), ("price", -1)])
def test_a_run_takes_a_budget_with_its_price(call, key, value):
    rows = [{"text": f"about {n}", "label": "ab"[n % 2]} for n in range(60)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = {"task": "classification", "model": "packaged:minilm", "data": "rows.jsonl"}
    made = call("run", name="one", **same, **{key: value})
    assert (made["ok"], made["exit_code"]) == (False, 2)
    assert f"--{key}" in made["messages"]
