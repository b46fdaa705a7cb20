"""``sweeper data prompts`` writes what must be answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


def test_prompts_of_a_request_are_written_with_their_number(chat, here, sweeper):
    done = sweeper("data", "prompts", "--task", "instruction", "--data", "chat", "-o", "p.jsonl",
                   "--request-model", "ft:mine", "--json")  # fmt: skip
    assert done.code == 0
    assert json.loads(done.out) == {
        "output": "p.jsonl", "prompts": 45, "rows": {"validation": 20, "test": 25}
    }  # fmt: skip
    rows = [json.loads(line) for line in (here / "p.jsonl").read_text().splitlines()]
    assert {row["body"]["model"] for row in rows} == {"ft:mine"}


@pytest.mark.parametrize("output", ["chat", "p.csv"])
def test_a_taken_name_or_another_kind_of_file_is_refused(chat, sweeper, output):
    done = sweeper("data", "prompts", "--task", "instruction", "--data", "chat", "-o", output)
    assert done.code == 2


PAGE = Path(__file__).parents[3] / "docs" / "hosted.md"


def test_the_page_leads_from_chat_rows_to_a_plan(shared_data, here, sweeper):
    (here / "snips7").symlink_to(shared_data / "snips7")
    text = PAGE.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ran = []
    for language, block in blocks:
        if language == "python":
            exec(block, {})
        for line in block.splitlines() if not language else ():
            command = line.removeprefix("sweeper ").split()
            if line.startswith("sweeper") and command[0] not in ("run", "export"):
                done = sweeper(*command)
                assert done.code == 0, f"{line}: {done.err}"
                ran.append(" ".join(command[:2]))
    assert ran == ["data convert", "data check", "data prompts", "plan --task"]
    assert len((here / "gpt-4o-mini.jsonl").read_text().splitlines()) == 1185
