"""What more rows would bring: the estimator on curves that are known, and on a run's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeper.findings.compute import compute
from sweeper.findings.evidence.data_curve import LEVEL, fit
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import DataNeed
from sweeper.findings.verdict.next_step import next_step
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialConfig, TrialResult

Make = Callable[..., RunFolder]
SIZES = (100, 200, 400)


def drawn(
    curve: Callable[[float], float], noise: float, seed: int
) -> tuple[list[int], list[float]]:
    rng = np.random.default_rng(seed)
    rows = [size for size in SIZES for _ in range(3)]
    return rows, [curve(size) + noise * rng.standard_normal() for size in rows]


@pytest.mark.parametrize(
    ("floor", "height", "exponent"),
    [(0.05, 0.3, 0.5), (0.0, 0.4, 0.3), (0.2, 0.2, 0.9), (0.6, -0.1, -0.4)],
)
def test_the_promise_for_twice_the_rows_holds(floor: float, height: float, exponent: float) -> None:
    def truth(rows: float) -> float:
        return floor + height * (rows / 100) ** -exponent

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


def with_parts(run: RunFolder, number: int, rows: int, loss: Callable[[int], float]) -> None:
    """Trainings on parts of the rows, as the run's own but for their losses."""
    whole = TrialResult.read(run.trial(number) / "result.json")
    config = TrialConfig.read(run.trial(number) / "config.json")
    for size in (rows // 8, rows // 4, rows // 2):
        for seed in range(3):
            folder = run.trial(number) / "rows" / str(size) / str(seed)
            folder.mkdir(parents=True)
            part = {"seed": seed, "train_rows": size}
            config.model_copy(update=part).write(folder / "config.json", synced=False)
            lost = loss(size) + 0.002 * seed
            change = {"seed": seed, "validation_loss": lost, "item_losses": None}
            whole.model_copy(update=change).write(folder / "result.json", synced=False)


def test_a_run_without_a_curve_says_how_to_get_one(make: Make) -> None:
    need = compute(make(trials=6)).data_need
    assert isinstance(need, NotMeasured)
    assert "cannot say" in need.reason
    assert need.command.endswith("--data-curve")


def test_a_run_with_a_curve_answers_in_the_verdict(make: Make) -> None:
    run = make(trials=6)
    found = compute(run)
    rows = 560
    winner = found.verdict.recommended_trial or 0
    loss = next(t.validation_loss for t in found.trials if t.number == winner) or 0.0
    with_parts(run, winner, rows, lambda size: loss * (rows / size) ** 0.5)
    found = compute(run)
    need = found.data_need
    assert isinstance(need, DataNeed), need
    assert need.curves[0].trial == winner
    assert [point.rows for point in need.curves[0].points] == [70, 140, 280, rows]
    assert need.curves[0].seen
    assert need.sentence in found.verdict.because
    assert "Twice the data (1,120 rows to train on) would bring" in need.sentence
    assert "From half of the rows to all of them it gained" in need.sentence
    low, high = need.curves[0].twice.low, need.curves[0].twice.high
    assert low is not None
    assert high is not None
    # The loss falls by a factor of 1.41 at each doubling.
    assert low < loss * (1 - 2**-0.5) * 1.05
    assert high > loss * (1 - 2**-0.5) * 0.8


def test_a_curve_that_is_not_done_says_how_far_it_is(make: Make) -> None:
    run = make(trials=6)
    winner = compute(run).verdict.recommended_trial or 0
    with_parts(run, winner, 560, lambda size: 0.3)
    for size in (140, 280):
        shutil.rmtree(run.trial(winner) / "rows" / str(size))
    need = compute(run).data_need
    assert isinstance(need, NotMeasured)
    assert need.reason.startswith("3 trainings on parts of the rows are too few")


def test_next_step_stays_a_step(make: Make) -> None:
    assert next_step(compute(make(trials=6))) is not None


def test_damaged_parts_are_left_out(make: Make, tmp_path: Path) -> None:
    run = make(trials=6)
    winner = compute(run).verdict.recommended_trial or 0
    with_parts(run, winner, 560, lambda size: 60 / size)
    (run.trial(winner) / "rows" / "70" / "0" / "result.json").write_text("{")
    need = compute(run).data_need
    assert isinstance(need, DataNeed)
    assert len(need.curves[0].points[0].scores) == 2
