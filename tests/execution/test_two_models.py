"""The real command over two base models in one study."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Sweeper, ended_after

from sweeper.findings.findings import Findings

SPEC = """\
name: run
task: classification
models: [{id: "packaged:minilm"}, {id: "packaged:smollm2"}]
data: {path: rows.jsonl}
aim: {strategies: [lora, full]}
training: {max_length: 32}
trials: [{strategy: lora, model: "packaged:smollm2", parameters: {learning_rate: 0.00051}}]
search: {trials: 10, finalists: 2, confirmation_seeds: 1}
"""
MODELS = {"packaged:minilm", "packaged:smollm2"}


class TwoModels(Sweeper):
    """The command with a spec that names two."""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        (self.folder.parents[1] / "sweep.yaml").write_text(SPEC)
        words = "run sweep.yaml --progress plain --backend curve_backend:make"
        return [sys.executable, "-m", "sweeper", *words.split()]


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[TwoModels]:
    made = TwoModels(tmp_path / "runs" / "run")
    with ended_after(made):
        yield made


def test_models_and_strategies_compete_as_pairs_and_are_told_apart(sweeper) -> None:
    sweeper.finish(10)
    pairs = {f"{strategy}@{model}" for strategy in ("lora", "full") for model in MODELS}
    study = sweeper.trials()
    assert {trial.params["strategy"] for trial in study[:3]} <= pairs
    assert {trial.params["strategy"] for trial in study} == pairs
    table = sweeper.table()
    own = [trial for trial in study if 0.00051 in trial.params.values()]
    assert [trial.params["strategy"] for trial in own] == ["lora@packaged:smollm2"]
    assert {row["model"] for row in table.values()} == MODELS
    assert all(row["strategy"].endswith(row["model"]) for row in table.values())
    findings = Findings.read(sweeper.run.findings)
    assert {one.strategy for one in findings.strategies} == pairs
    best = min((one for one in findings.strategies), key=lambda one: one.best_value)
    assert findings.run.models == tuple(sorted(MODELS))
    assert best.strategy == table[best.best_trial]["strategy"]
