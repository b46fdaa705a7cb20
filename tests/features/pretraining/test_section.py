"""What a first stage read and brought, in the report of a study."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest
from section_figures import figures_of

from sweeper.features.pretraining import section
from sweeper.features.pretraining._facts import NAME, StageRecord
from sweeper.findings.compute import compute
from sweeper.findings.study.reading import read_run
from sweeper.findings.verdict.comparisons import compare_finalists
from sweeper.reporting.compose import report_of
from sweeper.reporting.csvfiles import csv_text, trials_table
from sweeper.runfolder import RunFolder
from sweeper.trials import BaseRef, TrialConfig, TrialResult

RECORD = StageRecord(
    strategy="full",
    documents=449,
    optimizer_steps=20,
    tokens=160_000,
    seconds=300.0,
    held_out_loss_before=2.9,
    held_out_loss_after=2.7,
)
READ = {
    "base": BaseRef(folder="bases/ab12", state="0f"),
    "preparing_seconds": 300.0,
    "features": {NAME: RECORD.model_dump(mode="json")},
}


@pytest.fixture
def staged(make_run: Callable[..., RunFolder]) -> RunFolder:
    """Three trials of LoRA: 0, which made a base, 1 on the same base, and 2 without one."""
    run = make_run(trials=3, prune=False, losses={0: 0.2, 1: 0.4, 2: 0.9}, strategies=("lora",))
    for number in range(3):
        path = run.trial(number) / "config.json"
        TrialConfig.read(path).model_copy(update={"origin": "default"}).write(path)
    for number in (0, 1):
        path = run.trial(number) / "result.json"
        seconds = {"preparing_seconds": 0.0} if number else {}
        TrialResult.read(path).model_copy(update=READ | seconds).write(path)
    return run


def test_each_first_stage_is_told_once_with_its_trials(staged: RunFolder) -> None:
    (stage,) = figures_of(staged, section).stages
    assert (stage.trials, stage.tokens, stage.base) == ((0, 1), 160_000, "bases/ab12")
    report = report_of(staged)
    line = section.finding(report.figures("pretraining", section.Figures), report)
    assert line.count("160,000") == 1
    assert "from 2.90 to 2.70" in line


def test_its_seconds_count_once_and_where_it_ran(staged: RunFolder) -> None:
    findings = compute(staged)
    made, shared, without = (
        TrialResult.read(staged.trial(number) / "result.json") for number in range(3)
    )
    bare = made.model_copy(update={"preparing_seconds": 0.0})
    assert made.whole_seconds == pytest.approx(300 + bare.whole_seconds)
    assert shared.preparing_seconds == 0
    assert [row.result.base for row in findings.trials] == [made.base, made.base, without.base]
    assert findings.trials[0].seconds == made.whole_seconds
    first = next(csv.DictReader(csv_text(trials_table(findings)).splitlines()))
    assert (first["base"], first["preparing_seconds"]) == ("bases/ab12", "300.0")


def test_the_twin_without_a_first_stage_is_not_called_the_default(staged: RunFolder) -> None:
    findings = compute(staged)
    assert findings.verdict.best_trial == 0
    assert compare_finalists(read_run(staged)).default is None
