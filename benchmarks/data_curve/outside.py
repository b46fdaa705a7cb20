"""Whether the forecast of the data curve holds on curves that had no part in it.

    pip download lcdb==0.1.0 --no-deps --dest FOLDER
    python -m benchmarks.data_curve.outside --lcdb FOLDER/lcdb-0.1.0.tar.gz

The Learning Curve Database (Mohr et al. 2022, https://github.com/fmohr/lcdb) has the test accuracy
of 20 classifiers of scikit-learn on 246 data sets. As in a run, trainings of three seeds on an
eighth, a quarter and half of the rows forecast the error on all of them, with a 90% interval.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.features.data_curve.section import LEVEL, fit

Floats = NDArray[np.float64]
# (rows, seeds, errors, all rows, generator) -> low and high end of the error on all rows
Forecast = Callable[[Floats, NDArray[np.int64], Floats, int, np.random.Generator], Sequence[float]]

MEMBER = "lcdb-0.1.0/lcdb/database-accuracy.csv"
COLUMNS = ("openmlid", "learner", "size_train", "outer_seed", "inner_seed", "score_test")
SEEDS, SHARES, LEAST_ROWS = 3, (8, 4, 2), 256
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
_RESAMPLES = 300
_LINEAR = ("LogisticRegression", "SGD", "Perceptron", "PassiveAggressive", "Ridge", "linear",
           "LinearDiscriminant")  # fmt: skip


@dataclass(frozen=True)
class Known:
    """One curve: trainings on parts of the rows, and the mean error of those on all of them."""

    learner: str
    rows: Floats
    seeds: NDArray[np.int64]
    errors: Floats
    everything: int
    truth: float

    @property
    def group(self) -> str:
        name = self.learner.rpartition(".")[2]
        if any(part in name for part in _LINEAR):
            return "linear"
        return "neural network" if "MLP" in name else "others"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.data_curve.outside")
    parser.add_argument("--lcdb", type=Path, required=True, help="lcdb-0.1.0.tar.gz, from PyPI")
    parser.add_argument("--curves", type=int, default=1000, help="how many, drawn at random")
    arguments = parser.parse_args()
    curves = list(read(arguments.lcdb))
    chosen = np.random.default_rng(0).permutation(len(curves))[: arguments.curves]
    drawn = [curves[number] for number in chosen]
    print(f"{len(drawn)} of {len(curves)} curves\n")
    print("| forecast | curves | holds | too low | too high | width | interval score |")
    print("|---|---|---|---|---|---|---|")
    for name, forecast in FORECASTS.items():
        groups = [drawn, *([curve for curve in drawn if curve.group == g] for g in GROUPS)]
        ends = {id(curve): _ends(forecast, curve, number) for number, curve in enumerate(drawn)}
        for title, members in zip(("all", *GROUPS), groups, strict=True):
            print(f"| {name} | {title} ({len(members)}) | {_cells(members, ends)} |")


def read(path: Path) -> Iterator[Known]:
    """The curves of the archive: of each data set and learner the first split with enough sizes."""
    import pandas as pd

    with tarfile.open(path) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        frame = pd.read_csv(member, usecols=list(COLUMNS))
    frame = frame[frame.outer_seed == 0]
    for (_, learner), rows in frame.groupby(["openmlid", "learner"]):
        table = rows.pivot_table(index="inner_seed", columns="size_train", values="score_test")
        curve = _known(str(learner), 1 - table)
        if curve is not None:
            yield curve


def _known(learner: str, errors: Any) -> Known | None:
    """The curve up to the largest size that has all parts; None where there is none."""
    sizes = {int(size) for size in errors.columns}
    for everything in sorted(sizes, reverse=True):
        parts = [everything // share for share in SHARES]
        if everything < LEAST_ROWS:
            return None
        if everything % SHARES[0] or not sizes >= set(parts):
            continue
        whole = errors[[*parts, everything]].dropna()
        if len(whole) >= SEEDS:
            trained = whole.iloc[:SEEDS][parts].to_numpy()
            seeds = np.repeat(np.arange(SEEDS), len(parts))
            return Known(
                learner=learner,
                rows=np.tile(np.array(parts, dtype=np.float64), SEEDS),
                seeds=seeds,
                errors=trained.ravel().astype(np.float64),
                everything=everything,
                truth=float(whole[everything].mean()),
            )
    return None


def _ends(forecast: Forecast, curve: Known, number: int) -> tuple[float, float]:
    rng = np.random.default_rng(number)
    low, high = forecast(curve.rows, curve.seeds, curve.errors, curve.everything, rng)
    return float(low), float(high)


def _cells(curves: Sequence[Known], ends: Mapping[int, tuple[float, float]]) -> str:
    """Share of intervals that hold, that lie too low and too high; width and score in points."""
    low, high = np.array([ends[id(curve)] for curve in curves]).T
    truth = np.array([curve.truth for curve in curves])
    below, above = truth < low, truth > high
    width = 100 * (high - low)
    # Gneiting and Raftery 2007, section 6.2: the width, and 2 / 0.1 of the distance of a miss.
    missed = np.where(below, low - truth, np.where(above, truth - high, 0.0))
    score = width + 100 * missed * 2 / (1 - LEVEL)
    shares = [(~below & ~above).mean(), above.mean(), below.mean()]
    cells = [f"{share:.0%}" for share in shares]
    return " | ".join([*cells, f"{np.median(width):.1f}", f"{score.mean():.1f}"])


def ours(
    rows: Floats, seeds: NDArray[np.int64], errors: Floats, everything: int,
    rng: np.random.Generator,
) -> Sequence[float]:  # fmt: skip
    """The forecast of ``sweeper run --data-curve``."""
    ends: list[float] = np.quantile(fit(rows, seeds, errors, rng).at(everything), _ENDS).tolist()
    return ends


def power_law(
    rows: Floats, seeds: NDArray[np.int64], errors: Floats, everything: int,
    rng: np.random.Generator,
) -> Sequence[float]:  # fmt: skip
    """error = E + B / rows^c (Hestness et al. 2017), by least squares and resampled residuals."""
    exponents = np.linspace(0.02, 2.0, 60)[:, None]
    return _resampled(rows**-exponents, float(everything) ** -exponents[:, 0], errors, rng)


def rectified_law(
    rows: Floats, seeds: NDArray[np.int64], errors: Floats, everything: int,
    rng: np.random.Generator,
) -> Sequence[float]:  # fmt: skip
    """error = E + B / (D + rows^c) (Lin et al. 2024, arXiv:2402.02314), likewise."""
    exponents = np.repeat(np.linspace(0.02, 2.0, 40), 8)
    shares = np.tile([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0], 40)
    learned = shares * rows.min() ** exponents
    shapes = 1 / (learned[:, None] + rows ** exponents[:, None])
    return _resampled(shapes, 1 / (learned + float(everything) ** exponents), errors, rng)


def _resampled(
    shapes: Floats, at: Floats, errors: Floats, rng: np.random.Generator
) -> Sequence[float]:
    """The interval of E + B x shape on all rows, the shape chosen among several.

    Args:
        shapes: Of each curve at the rows of the trainings; shape (curves, trainings).
        at: Of each curve on all rows; shape (curves,).
    """
    _, fitted = _least_squares(shapes, at, errors[None, :])
    residuals = (errors - fitted[0]) * np.sqrt(errors.size / (errors.size - 3))
    drawn = rng.choice(residuals, size=(_RESAMPLES, errors.size))
    forecasts, _ = _least_squares(shapes, at, fitted + drawn)
    ends: list[float] = np.quantile(forecasts, _ENDS).tolist()
    return ends


def _least_squares(shapes: Floats, at: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """The forecast and the fitted errors of the best curve, E and B being 0 or more.

    Args:
        errors: Shape (repeats, trainings).
    """
    x = shapes / shapes.max(axis=1, keepdims=True)
    at = at / shapes.max(axis=1)
    center = x.mean(axis=1)
    spread = ((x - center[:, None]) ** 2).sum(axis=1)
    mean = errors.mean(axis=1)
    slope = np.maximum((errors - mean[:, None]) @ (x - center[:, None]).T / spread, 0.0)
    level = mean[:, None] - slope * center
    alone = np.maximum(errors @ x.T / (x * x).sum(axis=1), 0.0)
    slope, level = np.where(level < 0, alone, slope), np.maximum(level, 0.0)
    fitted = level[:, :, None] + slope[:, :, None] * x
    best = ((errors[:, None, :] - fitted) ** 2).sum(axis=2).argmin(axis=1)
    repeat = np.arange(len(errors))
    return level[repeat, best] + slope[repeat, best] * at[best], fitted[repeat, best]


GROUPS = ("linear", "neural network", "others")
FORECASTS: Mapping[str, Forecast] = {
    "sweeper": ours,
    "power law": power_law,
    "rectified law": rectified_law,
}


if __name__ == "__main__":
    main()
