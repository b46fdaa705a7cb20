"""A scripted client takes a job from its data to a verdict, over standard input and output."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.mark.slow
def test_a_client_drives_a_job_from_data_to_verdict(here, no_hub):
    import anyio

    words = {"fruit": "apple pear plum", "metal": "iron zinc gold"}
    rows = [
        {"text": f"what do you know about {names.split()[n % 3]} number {n}", "label": label}
        for label, names in words.items()
        for n in range(40)
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    async def job() -> dict:
        served = StdioServerParameters(
            command=sys.executable, args=["-m", "sweeper", "mcp"], env=dict(os.environ)
        )
        async with Client(served) as client:

            async def call(tool: str, **arguments):
                answer = await client.call_tool(tool, arguments)
                assert not answer.is_error, answer.content
                return answer.structured_content

            assert (await call("check_data", path="rows.jsonl"))["exit_code"] == 0
            same = {"task": "classification", "model": "packaged:minilm", "data": "rows.jsonl"}
            planned = await call("plan", **same)
            assert planned["answer"]["recommended"]
            started = await call("run", name="job", **same, trials=2, epochs=1, strategies="head")
            assert started["ok"], started["messages"]
            ends = time.monotonic() + 400
            while not (found := await call("verdict", name="job"))["ok"]:
                seen = await call("status", name="job")
                failed = seen["answer"] and seen["answer"]["phase"] == "failed"
                if failed or time.monotonic() > ends:
                    break
                await anyio.sleep(2)
            told = await call("predict", name="job", text="what is known about zinc")
        return {"verdict": found, "predict": told}

    done = anyio.run(job)
    assert done["verdict"]["ok"], done
    assert done["verdict"]["answer"]["sentence"]
    assert done["predict"]["answer"]["label"] in words
