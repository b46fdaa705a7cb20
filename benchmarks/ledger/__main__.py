"""Real small sweeps, one after the other, and how many predictions of their plans held.

    python -m benchmarks.ledger --data FOLDER --out FOLDER

``--data`` holds data sets for classification, a folder each with train.jsonl, validation.jsonl and
test.jsonl; two more come from the standard library of Python. What a sweep has left in ``--out`` is
not made again, so that the command can be stopped and given once more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import json_lines
from benchmarks.json_lines import Row

ROOT = Path(__file__).parents[2]
SIZES, STRATEGIES, TRIALS = (60, 120, 240), ("head,lora", "lora,full", "head,lora,full"), (2, 3, 4)
HELD_OUT = {"validation": 60, "test": 200}
FLAGS = (
    "--task classification --model packaged:minilm --column text=text --column label=label "
    "--epochs 1 --max-length 32 --finalists 1 --confirmation-seeds 1 --price 1 --progress none"
)
# Fewer rows have no two parts for a curve.
CURVE_FROM = 120
# One thread, which leaves the other cores to others.
QUIET = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


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
    program = [sys.executable, "-m", "sweeper", "ledger", "--json"]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    print(table(json.loads(done.stdout)))


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


def table(summary: dict[str, Any]) -> str:
    """How many predictions held, by kind."""
    lines = [
        "| kind | judged | held | held on the clock | should have held | width |",
        "|---|---|---|---|---|---|",
    ]
    for kind in summary["kinds"]:
        shares = [kind[name] for name in ("hit_rate", "clock_hit_rate", "stated")]
        held, clock, stated = ("–" if share is None else f"{share:.0%}" for share in shares)
        width = "–" if kind["width"] is None else f"{kind['width']:.2g} {kind['width_unit']}"
        lines.append(
            f"| `{kind['kind']}` | {kind['judged']} | {held} | {clock} | {stated} | {width} |"
        )
    return "\n".join([f"{summary['runs']} sweeps", "", *lines])


if __name__ == "__main__":
    main()
