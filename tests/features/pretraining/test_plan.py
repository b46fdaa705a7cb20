"""Plans of a domain task on the command line, with a corpus before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("papers.txt").write_text("\n\n".join(f"Paper {n} says {n}." for n in range(40)))
    return "papers.txt"


def plan(sweeper: Any, *words: str) -> Any:
    return sweeper("plan", "--task", "domain", "--model", "1B", "--gpu-memory", "24", *words)


def test_a_corpus_alone_is_no_data_of_the_task(sweeper: Any, corpus: str) -> None:
    refused = plan(sweeper, "--corpus", corpus)
    assert refused.code == 2
    assert f"--data {corpus}" in refused.err
    alone = json.loads(plan(sweeper, "--data", corpus, "--json").out)
    assert alone["facts"]["data"]["format"] == "text"
    assert "plain-text-is-the-task" in [advice["rule"] for advice in alone["advice"]]
    assert not any("first_stage" in one["parameters"] for one in alone["candidates"])
