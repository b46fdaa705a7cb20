"""Whether the promise for all rows holds that is made from at most half of them.

``python -m benchmarks.data_curve`` prints one line for each kind of training, data set and figure.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import json_lines, tables
from sweeper.features.data_curve.section import LEVEL, fit

TABLE = Path(__file__).parent / "losses.jsonl"
SEEDS = 3
# Between these quantiles of a normal distribution lies LEVEL of it.
_DEVIATIONS = 2 * 1.6449
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Training:
    """One line of the table."""

    seed: int
    rows: int
    error: float


@dataclass(frozen=True)
class Line:
    """The repeats of one data set.

    Args:
        held: Intervals that hold the mean of all trainings on all rows.
        width: Of the intervals, over that of as much of the trainings on half of the rows.
        oracle: The same for the shape that explains all trainings, with its height from a repeat.
        full: The noise of trainings on all rows, over that on half of them.
    """

    name: str
    held: int
    of: int
    width: float
    oracle_held: int
    oracle: float
    full: float

    def __str__(self) -> str:
        held, by_oracle = (f"{count} of {self.of}" for count in (self.held, self.oracle_held))
        figures = (f"{self.width:.1f}", by_oracle, f"{self.oracle:.1f}", f"{self.full:.2f}")
        return tables.line(self.name, held, *figures)


def read(path: Path = TABLE) -> dict[str, list[Training]]:
    """Trainings by kind, set and figure; seeds with all sizes alone."""
    found: dict[str, list[Training]] = defaultdict(list)
    for line in json_lines.read(path):
        for figure, error in (("loss", line["loss"]), ("accuracy", 1 - line["accuracy"])):
            name = f"{line['kind']}, `{line['set']}`, {figure}"
            found[name].append(Training(line["seed"], line["rows"], error))
    return {name: _whole(trainings) for name, trainings in sorted(found.items())}


def _whole(trainings: Sequence[Training]) -> list[Training]:
    sizes = {one.rows for one in trainings}
    seeds = {one.seed for one in trainings}
    known = {(one.seed, one.rows) for one in trainings}
    kept = {seed for seed in seeds if all((seed, rows) in known for rows in sizes)}
    return [one for one in trainings if one.seed in kept]


def repeats(trainings: Sequence[Training], seeds: int) -> Iterator[list[Training]]:
    """So many seeds at a time, none of them twice."""
    numbers = sorted({one.seed for one in trainings})
    for start in range(0, len(numbers) - seeds + 1, seeds):
        chosen = set(numbers[start : start + seeds])
        yield [one for one in trainings if one.seed in chosen]


def judge(name: str, trainings: Sequence[Training], seeds: int = SEEDS) -> Line | None:
    """All repeats of one set; None where there is none."""
    everything = max(one.rows for one in trainings)
    at_full = [one.error for one in trainings if one.rows == everything]
    at_half = [one.error for one in trainings if one.rows == everything // 2]
    if len(at_full) < 2 * seeds:
        return None
    truth, noise = float(np.mean(at_full)), float(np.std(at_half, ddof=1))
    shape = _shape(trainings)
    found, oracles = [], []
    for number, repeat in enumerate(repeats(trainings, seeds)):
        rng = np.random.default_rng(number)
        known = [one for one in repeat if one.rows < everything]
        rows, numbers = [one.rows for one in known], [one.seed for one in known]
        curves = fit(rows, numbers, [one.error for one in known], rng)
        found.append(np.quantile(curves.at(everything), _ENDS))
        oracles.append(_oracle(shape, known, everything))
    return Line(
        name=name,
        held=sum(bool(low <= truth <= high) for low, high in found),
        of=len(found),
        width=float(np.mean([high - low for low, high in found])) / (_DEVIATIONS * noise),
        oracle_held=sum(bool(low <= truth <= high) for low, high in oracles),
        oracle=float(np.mean([high - low for low, high in oracles])) / (_DEVIATIONS * noise),
        full=float(np.std(at_full, ddof=1)) / noise,
    )


def _shape(trainings: Sequence[Training]) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of all trainings on so many rows."""
    by_rows: dict[int, list[float]] = defaultdict(list)
    for one in trainings:
        by_rows[one.rows].append(one.error)
    return {
        rows: (float(np.mean(errors)), float(np.std(errors, ddof=1)))
        for rows, errors in by_rows.items()
    }


def _oracle(
    shape: dict[int, tuple[float, float]], known: Sequence[Training], everything: int
) -> tuple[float, float]:
    """The interval of one who knows the true curve up to a factor, and the noise at each size."""
    weights = np.array([(shape[one.rows][0] / shape[one.rows][1]) ** 2 for one in known])
    factors = np.array([one.error / shape[one.rows][0] for one in known])
    factor = float((weights * factors).sum() / weights.sum())
    error = _DEVIATIONS / 2 / float(np.sqrt(weights.sum()))
    truth = shape[everything][0]
    return truth * (factor - error), truth * (factor + error)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="what record.py wrote")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of one repeat")
    asked = parser.parse_args()
    lines = [judge(name, all_, asked.seeds) for name, all_ in read(asked.table).items()]
    heads = ("training, set, figure", "holds", "width", "oracle holds", "oracle width")
    print(tables.head(*heads, "full noise"))
    known = [line for line in lines if line is not None]
    for line in known:
        print(line)
    held, of = sum(line.held for line in known), sum(line.of for line in known)
    widest = max(line.width for line in known)
    print(f"\n{held} of {of} intervals hold; the widest line has {widest:.1f} times the noise.")


if __name__ == "__main__":
    main()
