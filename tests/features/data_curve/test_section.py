"""What more rows would bring: the estimator on curves that are known, and on a run's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest
from section_figures import figures_of

from sweeper.features.data_curve import section
from sweeper.features.data_curve.section import LEVEL, DataCurve, Figures, fit
from sweeper.findings.compute import compute
from sweeper.findings.findings import Interval, NotMeasured
from sweeper.reporting.compose import report_of
from sweeper.runfolder import RunFolder

Make = Callable[..., RunFolder]
SIZES = (100, 200, 400)


def drawn(
    curve: Callable[[float], float], noise: float, seed: int
) -> tuple[list[int], list[int], list[float]]:
    rng = np.random.default_rng(seed)
    rows = [size for size in SIZES for _ in range(3)]
    return (
        rows,
        list(range(3)) * len(SIZES),
        [curve(size) + noise * rng.standard_normal() for size in rows],
    )


@pytest.mark.parametrize(
    ("floor", "height", "exponent"),
    [(0.05, 0.3, 0.5), (0.0, 0.4, 0.3), (0.2, 0.2, 0.9), (0.6, -0.1, -0.4)],
)
def test_the_promise_for_twice_the_rows_holds(floor: float, height: float, exponent: float) -> None:
    def truth(rows: float) -> float:
        return float(floor + height * (rows / 100) ** -exponent)

    held, repeats = 0, 60
    for seed in range(repeats):
        curves = fit(*drawn(truth, 0.01, seed), np.random.default_rng(seed), 1000)
        low, high = np.quantile(curves.at(800), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        held += low <= truth(800) <= high
    assert held >= 0.8 * repeats


def test_where_rows_bring_nothing_the_gain_is_about_none() -> None:
    curves = fit(*drawn(lambda _: 0.3, 0.01, 0), np.random.default_rng(0))
    gain = curves.at(800) - curves.at(1600)
    assert np.quantile(gain, 0.05) < 0.003
    assert np.quantile(gain, 0.95) < 0.02


def test_a_run_with_a_curve_answers_in_the_verdict(make_run: Make) -> None:
    run = make_run(trials=6, parts=0.5, validation_items=400)
    report, need = report_of(run), figures_of(run, section)
    assert isinstance(need, Figures), need
    curve = need.curves[0]
    assert curve.trial == report.findings.verdict.recommended_trial
    assert [(point.rows, len(point.scores)) for point in curve.points] == [
        (70, 3), (140, 3), (280, 3), (560, 3)
    ]  # fmt: skip
    assert curve.seen
    assert (need.rows, need.items) == (560, 400)
    assert report.card[0] == need.sentence
    assert need.sentence.startswith(section.finding(need, report))
    assert "Twice the data (1,120 rows to train on) would bring the" in need.sentence
    assert "points of validation accuracy (90% interval" in need.sentence
    assert "Going from half of the rows to all of them brought" in need.sentence
    assert curve.band[0].rows == 70
    assert curve.band[-1].rows == 1120
    assert all(one.low <= one.value <= one.high <= 1 for one in curve.band)
    # The chart ends where the sentence does: accuracy with all rows plus the gain of as many more.
    now, last = next(one for one in curve.band[::-1] if one.rows == 560), curve.band[-1]
    ends = [one - now.value for one in (last.low, last.value, last.high)]
    assert ends == pytest.approx([curve.twice.low, curve.twice.value, curve.twice.high])


def test_a_text_task_is_answered_in_its_loss(make_run: Make) -> None:
    need = figures_of(make_run(trials=6, parts=0.5, task="instruction"), section)
    assert isinstance(need, Figures)
    curve = need.curves[0]
    low, high = curve.twice.low, curve.twice.high
    assert low is not None
    assert high is not None
    # The loss falls by a factor of 1.41 at each doubling.
    whole = sum(curve.points[-1].scores) / len(curve.points[-1].scores)
    assert low < whole * (1 - 2**-0.5) * 1.1
    assert high > whole * (1 - 2**-0.5) * 0.7
    assert "less validation loss (90% interval" in need.sentence


def test_where_rows_bring_nothing_the_run_says_so(make_run: Make) -> None:
    need = figures_of(make_run(trials=6, parts=0.0), section)
    assert isinstance(need, Figures)
    assert not need.curves[0].seen
    assert "no clear gain: " in need.sentence


def test_a_curve_that_is_not_done_says_how_far_it_is(make_run: Make) -> None:
    run = make_run(trials=6, parts=0.5)
    for path in [*run.trials.glob("*/rows/140"), *run.trials.glob("*/rows/280")]:
        shutil.rmtree(path)
    need = figures_of(run, section)
    assert isinstance(need, NotMeasured)
    assert need.reason == "Too few trainings on parts of the rows for a curve: 6."


@pytest.mark.parametrize(
    ("gain", "low", "advised"), [(0.03, 0.01, True), (0.03, -0.01, False), (0.005, 0.001, False)]
)
def test_more_rows_are_next_where_the_data_curve_shows_a_gain(
    make_run: Make, gain: float, low: float, advised: bool
) -> None:
    found = compute(make_run(trials=20))
    curve = DataCurve(
        trial=1,
        strategy="lora",
        default=False,
        points=(),
        band=(),
        twice=Interval(value=gain, low=low, high=0.05),
        seen=low > 0,
    )
    need = Figures(metric=found.metric, rows=560, curves=(curve,), sentences=("Twice the data.",))
    step = section.advise(need, found)
    assert (step is not None) == advised
    if step is not None:
        assert step.kind == "more-data"
        assert "Twice the data." in step.because
