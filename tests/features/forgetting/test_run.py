"""General texts in the request of a run: its identity, and texts that are too few."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.errors import DataError
from sweeper.execution.state import continuation
from sweeper.spec import DataSpec, ModelSpec, Spec
from sweeper.steps import sweep as run_steps


def test_general_texts_are_part_of_the_run_and_too_few_are_refused_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ({"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(30))
    Path("rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    Path("general.txt").write_text("a single text\n")
    spec = Spec.model_validate(
        {
            "task": "instruction",
            "models": (ModelSpec(id="packaged:smollm2"),),
            "data": DataSpec(path="rows.jsonl"),
            "features": {"forgetting": {"general": "general.txt"}},
        }
    )
    with pytest.raises(DataError):
        run_steps.prepare(spec, check_model=False)
    Path("general.txt").write_text("a text\nanother text\n")
    begun = run_steps.prepare(spec, check_model=False).plan
    Path("general.txt").write_text("a text\nyet another text\n")
    after = run_steps.prepare(spec, check_model=False).plan
    assert begun.identity is not None
    assert after.identity is not None
    assert continuation.changes(begun.identity, after.identity) == ["features.forgetting"]
