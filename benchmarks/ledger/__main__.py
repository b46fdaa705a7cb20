"""Real small sweeps, one after the other, and how many predictions of their plans held.

    python -m benchmarks.ledger --data FOLDER --out FOLDER

``--data`` holds data sets for classification, a folder each with train.jsonl, validation.jsonl and
test.jsonl; two more come from the standard library of Python. What a sweep has left in ``--out`` is
not made again, so that the command can be stopped and given once more.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from benchmarks import json_lines, tables
from benchmarks.devices import QUIET
from benchmarks.json_lines import Row
from sweeper.features.ledger._ledger import MIN_RUNS, LedgerEntry, entries, factors
from sweeper.features.ledger._predictions import DIFFERENCES, Scored

ROOT = Path(__file__).parents[2]
SIZES, STRATEGIES, TRIALS = (60, 120, 240), ("head,lora", "lora,full", "head,lora,full"), (2, 3, 4)
HELD_OUT = {"validation": 60, "test": 200}
FLAGS = (
    "--task classification --model packaged:minilm --column text=text --column label=label "
    "--epochs 1 --max-length 32 --finalists 1 --confirmation-seeds 1 --price 1 --progress none"
)
# Fewer rows have no two parts for a curve.
CURVE_FROM = 120


class Sweep(NamedTuple):
    """One sweep: its data set, rows to train on, strategies and number of trials."""

    data: str
    rows: int
    strategies: str
    trials: int

    @property
    def name(self) -> str:
        return "-".join([self.data, str(self.rows), *self.strategies.split(","), str(self.trials)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ledger")
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument("--sweeps", type=int, default=36)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = data_sets(arguments.data, arguments.out)
    os.environ.update(QUIET, SWEEPER_HOME=str(arguments.out.resolve() / "home"))
    for sweep in sweeps(sorted(data), arguments.sweeps):
        run(sweep, data[sweep.data], arguments.out)
    kept, _ = entries()
    print(f"{len(kept)} sweeps\n\n{table(replay(kept[::-1]))}")


def data_sets(given: Path, out: Path) -> dict[str, dict[str, list[Row]]]:
    """Every data set by its name, with the rows of its splits."""
    for name, target in (("order", "order"), ("modules", "modules.jsonl")):
        if not (out / target).exists():
            program = [sys.executable, str(ROOT / "examples" / "stdlib.py")]
            subprocess.run([*program, name, "-o", str(out / target)], check=True)
    folders = [out / "order", *(path.parent for path in given.glob("*/train.jsonl"))]
    sets = {folder.name: splits_of(folder) for folder in folders}
    rows = json_lines.read(out / "modules.jsonl")
    random.Random(0).shuffle(rows)
    sets["modules"] = {"validation": rows[:60], "test": rows[60:260], "train": rows[260:]}
    classified = {"text", "label"}
    return {name: s for name, s in sets.items() if classified <= s["train"][0].keys()}


def splits_of(folder: Path) -> dict[str, list[Row]]:
    """The rows of each split, in an order that has nothing to do with their classes."""
    splits = {split: json_lines.read(folder / f"{split}.jsonl") for split in ("train", *HELD_OUT)}
    for rows in splits.values():
        random.Random(0).shuffle(rows)
    return splits


def sweeps(data: list[str], count: int) -> Iterator[Sweep]:
    """So many different sweeps, in a shuffled order."""
    every = [Sweep(*chosen) for chosen in itertools.product(data, SIZES, STRATEGIES, TRIALS)]
    random.Random(0).shuffle(every)
    yield from every[:count]


def run(sweep: Sweep, splits: dict[str, list[Row]], out: Path) -> None:
    """Run one sweep to its end, unless that was done."""
    folder = out / sweep.name
    if (folder / "runs" / "sweep" / "features" / "ledger" / "scores.json").exists():
        return
    for split, rows in splits.items():
        path = folder / "rows" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        json_lines.write(path, rows[: HELD_OUT.get(split, sweep.rows)])
    program = [sys.executable, "-m", "sweeper", "run", "--data", "rows", "--name", "sweep"]
    program += [*FLAGS.split(), "--strategies", sweep.strategies, "--trials", str(sweep.trials)]
    program.append("--data-curve" if sweep.rows >= CURVE_FROM else "--no-data-curve")
    begun = time.monotonic()
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    print(
        f"{sweep.name}: exit code {done.returncode}, {time.monotonic() - begun:.0f} s", flush=True
    )
    if done.returncode:
        print(done.stderr, flush=True)


@dataclass
class Kind:
    """The predictions of one kind, with the intervals of a plan without a ledger and with one.

    ``shipped`` and ``learnt`` say of each whether it held, ``shipped_widths`` and ``learnt_widths``
    how wide its interval was: high over low of an amount, else their difference.
    """

    stated: list[float] = field(default_factory=list)
    shipped: list[bool] = field(default_factory=list)
    shipped_widths: list[float] = field(default_factory=list)
    learnt_stated: list[float] = field(default_factory=list)
    learnt: list[bool] = field(default_factory=list)
    learnt_widths: list[float] = field(default_factory=list)


def replay(kept: Sequence[LedgerEntry]) -> dict[str, Kind]:
    """What plans teach one another, sweep by sweep in their order.

    The score of a sweep says which factor on the interval it needed, so that its outcome is known
    for any factor. Those of a sweep follow from the sweeps before it, from ten on.
    """
    kinds: dict[str, Kind] = {}
    for number, entry in enumerate(kept):
        factors_before = factors(kept[:number]) if number >= MIN_RUNS else None
        for scored in entry.scored:
            kind = kinds.setdefault(scored.kind, Kind())
            if scored.held is None:
                continue
            held, width, stated = outcome(scored, {})
            kind.shipped.append(held)
            kind.shipped_widths.append(width)
            kind.stated.append(stated)
            if factors_before is not None:
                held, width, stated = outcome(scored, factors_before)
                kind.learnt.append(held)
                kind.learnt_widths.append(width)
                kind.learnt_stated.append(stated)
    return kinds


def outcome(scored: Scored, factors_: Mapping[str, float]) -> tuple[bool, float, float]:
    """Whether a judged prediction holds with these factors, its width, and the stated share."""
    factor = factors_.get(scored.kind, 1.0)
    if scored.unit == "probability":
        certainty = scored.widened * (scored.stated - 0.5)
        return bool(scored.held), math.nan, 0.5 + certainty / factor
    assert scored.low is not None
    assert scored.high is not None
    need = scored.need or 0.0
    if scored.kind == "best-loss":  # follows earlier runs in another way
        return bool(scored.held), scored.high / scored.low, scored.stated
    if scored.unit in DIFFERENCES:
        width = (scored.high - scored.low) / scored.widened * factor
        return need <= factor, width, scored.stated
    ends = [factors_.get(f"memory-{end}", 1.0) for end in ("low", "high")]
    lower, upper = ends if scored.kind == "memory" else (factor, factor)
    low_need, high_need = scored.needs_of_ends
    low = scored.low * (scored.widened_low or scored.widened) / lower
    width = scored.high / scored.widened * upper / max(low, 1e-9)
    return low_need <= lower and high_need <= upper, width, scored.stated


def table(kinds: Mapping[str, Kind]) -> str:
    """How many predictions held, by kind."""
    heads = ("kind", "judged", "should hold", "hold as shipped", "width")
    lines = [tables.head(*heads, "should hold", "hold as learnt", "width")]
    for name, kind in sorted(kinds.items()):
        shipped = share(kind.stated), share(kind.shipped), middle(kind.shipped_widths)
        learnt = share(kind.learnt_stated), share(kind.learnt), middle(kind.learnt_widths)
        lines.append(tables.line(f"`{name}`", len(kind.shipped), *shipped, *learnt))
    return "\n".join(lines)


def share(values: Sequence[float]) -> str:
    """Their mean in per cent."""
    return f"{fmean(values):.0%}" if values else "–"


def middle(widths: Sequence[float]) -> str:
    """The median width; events have none."""
    return f"{median(widths):.2g}" if widths and not math.isnan(widths[0]) else "–"


if __name__ == "__main__":
    main()
