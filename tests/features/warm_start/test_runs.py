"""The real command with a warm start from an earlier one, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import PATHS, Sweeper, ended_after

from sweeper.features.warm_start import section
from sweeper.features.warm_start.section import Figures
from sweeper.plans import Plan
from sweeper.reporting.document import Report


class Named(Sweeper):
    """The command with further flags."""

    more = ""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        return [*super().command(trials, workers, seed), *self.more.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a first study has ended, and is kept in the cache folder."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPER_HOME", str(folder / "home"))
        patch.setenv("PYTHONPATH", PATHS)
        first = Named(folder / "runs" / "first")
        with ended_after(first):
            first.finish(9)
        assert len(list((folder / "home" / "studies").glob("*.json"))) == 1
    return folder


def finished(folder: Path, name: str, trials: int, more: str = "") -> Named:
    """Another study in the same folder."""
    made = Named(folder / "runs" / name)
    made.more = more
    with ended_after(made):
        made.finish(trials, SWEEPER_HOME=str(folder / "home"))
    return made


def test_a_second_study_tries_what_the_first_found_and_reports_it(folder: Path) -> None:
    second = finished(folder, "second", 9, "--warm-start --seed 1")

    plan = Plan.read(second.run.plan)
    proposed = {trial.strategy: trial for trial in plan.proposed}
    assert {"lora", "full"} <= set(proposed)
    assert {trial.record["study"] for trial in proposed.values()} == {"first"}
    said = second.events("proposed-trial")
    assert any("lora of packaged:minilm starts with the best" in text for text in said)

    report = Report.read(second.run.report)
    figures = report.figures("warm-start", Figures)
    tried = [one for one in figures.starts if one.trial is not None]
    assert tried
    for one in tried:
        config = json.loads((second.run.trial(one.trial) / "config.json").read_text())
        assert proposed[one.strategy].parameters.items() <= config["parameters"].items()
    assert "Warm start of LoRA from first" in section.finding(figures, report)


def test_without_the_flag_nothing_is_taken(folder: Path) -> None:
    run = finished(folder, "again", 1)
    assert Plan.read(run.run.plan).proposed == ()
