"""A run's folder that grows as a sweep writes it: the real artifacts, without training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from curve_backend import make_plan

from sweeper.facts.record import TrainingSetup
from sweeper.plans import Plan, TrialBudget
from sweeper.runfolder import RunFolder
from sweeper.trials import Failure, RungReport, TrialConfig, TrialResult


@dataclass
class Sweep:
    """Writes what the command writes, in its order: the file, then the event."""

    run: RunFolder
    plan: Plan

    def starts(self, number: int, attempt: int = 1) -> None:
        config = TrialConfig(
            number=number,
            attempt=attempt,
            seed=0,
            origin="default",
            task="classification",
            strategy="lora",
            model="/data/models/tiny",
            parameters={"learning_rate": 1e-4, "r": 8},
            budget=TrialBudget(epochs=2, full_tokens=1000, rung_items=10),
            setup=TrainingSetup(
                micro_batch=8, evaluation_batch=8, precision="fp32", sequence_length=64
            ),
        )
        config.write(self.run.trial(number) / "config.json")
        (self.run.trial(number) / "rungs.jsonl").write_text("")
        self._event("trial-started", number)

    def rung(self, number: int, rung: int, attempt: int = 1, event: bool = True) -> None:
        report = RungReport(
            number=number, attempt=attempt, rung=rung, validation_loss=1 / rung, items=10,
            train_loss=2 / rung, optimizer_steps=5 * rung, epochs=rung / 4, tokens=100,
            training_seconds=1, evaluation_seconds=1, metrics={"accuracy": 0.5},
        )  # fmt: skip
        with (self.run.trial(number) / "rungs.jsonl").open("a") as file:
            file.write(report.model_dump_json() + "\n")
        if event:
            self._event("rung", number)

    def ends(self, number: int, state: str = "COMPLETE", attempt: int = 1) -> None:
        failed = Failure(kind="diverged", detail="loss is not finite") if state == "FAIL" else None
        result = TrialResult.model_validate(
            {"number": number, "attempt": attempt, "seed": 0, "state": state, "failure": failed}
            | (
                {"validation_loss": 0.25, "metrics": {"accuracy": 0.75, "pass@1": 0.5}}
                if not failed
                else {}
            )
            | {"optimizer_steps": 40}
        )
        result.write(self.run.trial(number) / "result.json")
        self._event("trial-ended", number)

    def is_reported(self) -> None:
        found = {
            "verdict": {"recommended_trial": 0, "sentence": "Use trial 0."},
            "metric": {"name": "accuracy"},
            "finalists": [{"trial": 0, "test_score": {"value": 0.5}}],
        }
        self.run.findings.write_text(json.dumps(found))
        (self.run.path / "report.html").write_text("<p>the report</p>")
        (self.run.path / "report.md").write_text("# the report")

    def whole(self, trials: int = 1) -> None:
        """Trials from beginning to end, and the report."""
        for number in range(trials):
            self.starts(number)
            self.rung(number, 1)
            self.rung(number, 2)
            self.ends(number)
        self.is_reported()

    def _event(self, kind: str, number: int) -> None:
        with self.run.events.open("a") as file:
            file.write(json.dumps({"kind": kind, "at": "", "trial": number}) + "\n")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "runs" / "demo")
    plan = make_plan()
    plan.write(run.plan)
    return Sweep(run, plan)
