"""The real command with a warm start from an earlier one, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Sweeper, ended_after

from sweeper.findings.record import Findings
from sweeper.plans import Plan


class Named(Sweeper):
    """The command with further flags."""

    more = ""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        return [*super().command(trials, workers, seed), *self.more.split()]


def test_a_second_study_tries_what_the_first_found_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    first, second = Named(tmp_path / "runs" / "first"), Named(tmp_path / "runs" / "second")
    with ended_after(first), ended_after(second):
        first.finish(9)
        best = {one.strategy: one for one in Findings.read(first.run.findings).strategies}
        assert len(list((tmp_path / "home" / "studies").glob("*.json"))) == 1

        second.more = "--warm-start --seed 1"
        second.finish(9)

    plan = Plan.read(second.run.plan)
    hints = {hint.strategy: hint for hint in plan.hints}
    assert {"lora", "full"} <= set(hints)
    assert {hint.study for hint in hints.values()} == {"first"}
    said = second.events("warm-start")
    assert any("lora of packaged:minilm takes what first found best" in text for text in said)

    findings = Findings.read(second.run.findings)
    tried = [one for one in findings.warm_starts if one.trial is not None]
    assert tried
    for one in tried:
        assert one.earlier_loss == best[one.strategy].best_loss
        config = json.loads((second.run.trial(one.trial) / "config.json").read_text())
        assert one.parameters.items() <= config["parameters"].items()
    assert any("Warm start of LoRA from first" in text for text in findings.verdict.because)


def test_without_the_flag_nothing_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    run = Named(tmp_path / "runs" / "alone")
    run.strategies = "head"
    with ended_after(run):
        run.finish(1)
        run.more = "--name again"
        run.finish(1)
    assert Plan.read(tmp_path / "runs" / "again" / "plan.json").hints == ()
