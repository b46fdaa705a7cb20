"""Checks, plans and training agree on what becomes of a row that is too long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.data.long_rows import long_row

LONG = "first " + "more words " * 400 + "last"


@pytest.mark.parametrize(
    ("row", "task", "becomes", "end"),
    [
        ({"text": LONG, "label": "a"}, "classification", "cut", "end"),
        ({"prompt": LONG, "completion": "yes"}, "instruction", "shortened", "beginning"),
        ({"prompt": LONG, "code": "yes"}, "code", "shortened", "beginning"),
        ({"question": LONG, "answer": "yes"}, "domain", "shortened", "beginning"),
        ({"text": LONG}, "domain", "divided", ""),
    ],
)
def test_a_check_and_a_plan_cut_the_same_end(
    sweeper: Any, tmp_path: Path, row: dict[str, str], task: Any, becomes: str, end: str
) -> None:
    assert long_row(task, has_prompt="prompt" in row or "question" in row) == becomes
    short = [
        {name: f"{n} {n}" if text == LONG else text for name, text in row.items()}
        for n in range(40)
    ]
    short[0] |= {"label": "b"} if "label" in row else {}
    short[1] |= {"label": "b"} if "label" in row else {}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*short, row]))
    named = ["--task", task, "--model", "packaged:smollm2", "--max-length", "64"]
    ran = sweeper("data", "check", str(path), *named, "--json")
    found = {one["kind"]: one["examples"] for one in json.loads(ran.out)["findings"]}
    if end:
        (example,) = found["truncation"]
        assert (example["line"], example["detail"].endswith(f"cut at its {end}")) == (41, True)
    else:
        assert "truncation" not in found
    planned = sweeper("plan", *named, "--data", str(path), "--json")
    plan = json.loads(planned.out)
    assert plan["facts"]["data"]["lengths"]["too_long"] == {
        "cap": 64,
        "rows": 1,
        "of": 41,
        "becomes": becomes,
    }
