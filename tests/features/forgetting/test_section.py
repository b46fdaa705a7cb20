"""The section on forgetting: what was measured, how sure that is, and the front."""

from collections.abc import Callable

import page_tree
import pytest
from scored_tasks import measured
from section_figures import blocks_of, figures_of

from sweeper.features.forgetting import section
from sweeper.features.forgetting.section import Figures, TrialForgetting
from sweeper.findings.findings import Interval, front_of
from sweeper.findings.study.reading import read_run
from sweeper.reporting.blocks import Table
from sweeper.reporting.write import html
from sweeper.runfolder import RunFolder
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import TrialResult

Make = Callable[..., RunFolder]


def test_forgetting_is_a_third_cost(make: Make) -> None:
    page = page_tree.parse(html(measured(make(trials=12))))
    section = page.one("section", id="cost")
    assert [one.text for one in section.all("label")] == ["time", "memory", "lost on general text"]
    assert len(section.all("svg")) == 4
    assert "lost on general text" in page.one("section", id="strategies").text


def test_each_measured_trial_has_its_losses_and_the_best_of_both_are_the_front(make: Make) -> None:
    run = make(trials=12)
    report = measured(run)
    left_out = min(trial.config.number for trial in read_run(run).trials if trial.completed)
    path = run.trial(left_out) / "result.json"
    TrialResult.read(path).model_copy(update={"measures": {}}).write(path)
    figures = figures_of(run, section)
    completed = {trial.config.number: trial.result for trial in read_run(run).trials}
    expected = {
        number: (result.validation_loss, 2.0 / result.validation_loss)
        for number, result in completed.items()
        if result.state == "COMPLETE" and number != left_out
    }
    found = {t.trial: (t.task_loss, t.forgetting.value) for t in figures.trials}
    assert found.keys() == expected.keys()
    for number, losses in expected.items():
        assert found[number] == pytest.approx(losses)
    assert {(t.general_loss_base, t.strategy) for t in figures.trials} == {
        (3.0, trial.config.strategy)
        for trial in read_run(run).trials
        if trial.config.number in expected
    }
    assert list(figures.front) == front_of((f, loss, n) for n, (loss, f) in expected.items())
    assert (figures.limit_points, figures.recommended_trial) == (
        3.0,
        report.findings.verdict.recommended_trial,
    )


def test_the_table_begins_with_the_front_and_shows_both_losses(make: Make) -> None:
    report = measured(make(trials=12))
    figures = report.figures("forgetting", Figures)
    (table,) = blocks_of(report, section)
    assert isinstance(table, Table)
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert len(rows) == len(figures.trials)
    by_number = {f"#{trial.trial}": trial for trial in figures.trials}
    assert figures.front
    assert {row[0] for row in rows[: len(figures.front)]} == {f"#{n}" for n in figures.front}
    for row in rows:
        trial = by_number[row[0]]
        assert float(row[3]) == pytest.approx(trial.general_loss_base, abs=0.01)
        assert float(row[4]) == pytest.approx(trial.general_loss, abs=0.01)


def trial(number: int, task_loss: float, points: float) -> TrialForgetting:
    return TrialForgetting(
        trial=number, strategy=StrategyOnModel(strategy="lora"), task_loss=task_loss,
        general_loss=3.0 + points / 100, general_loss_base=3.0, forgetting=Interval(value=points),
    )  # fmt: skip


def test_the_finding_names_who_lost_and_who_gained(make: Make) -> None:
    report = measured(make(trials=12))
    gained, lost = trial(4, 0.5, -1.0), trial(7, 0.3, 2.0)
    text = section.finding(Figures(trials=(gained, lost), front=(4, 7)), report)
    assert "trial 4 is best (0.010 nats/token gained)" in text
    assert "trial 7 is best (0.020 nats/token lost" in text
    alone = section.finding(Figures(trials=(gained,), front=(4,)), report)
    assert "4" in alone
    assert alone != text
    assert section.finding(Figures(), report) == ""


def test_the_verdict_has_the_sentence_on_the_limit(make: Make) -> None:
    report = measured(make(trials=12))
    figures = report.figures("forgetting", Figures)
    assert section.because(figures, report.findings) == [figures.limit_sentence]
    assert figures.limit_sentence
    assert section.because(Figures(), report.findings) == []


@pytest.mark.parametrize(
    ("value", "low", "high", "standing"),
    [
        (4.0, 3.5, 4.5, section._OVER),
        (1.0, 0.5, 3.0, section._WITHIN),
        (2.0, 1.0, 4.0, section._UNSETTLED),
        (4.0, 3.0, 5.0, section._OVER_WITHIN_NOISE),
        (4.0, None, None, section._NOISE_UNKNOWN),
        (2.0, None, None, section._UNSETTLED),
    ],
)
def test_noise_decides_on_which_side_of_the_limit_a_loss_is(
    value: float, low: float | None, high: float | None, standing: str
) -> None:
    assert section._standing(Interval(value=value, low=low, high=high), 3.0) == standing
