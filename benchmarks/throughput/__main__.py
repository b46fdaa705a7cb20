"""Tokens a second of a sweeper trial beside TRL's SFTTrainer and transformers' Trainer.

The contenders run in turn, several rounds, each in a fresh process; what is printed are medians
and ratios, since machines drift. With --cpu a second is one of the process on all its cores, which
other work on the machine hardly touches; it needs a device that is the CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.devices import LONGEST, one_gpu
from benchmarks.throughput import texts
from benchmarks.throughput.contenders import NAMES, SETUPS

Lap = dict[str, Any]


def lap(
    name: str, data: Path, strategy: str, model: str, switched: dict[str, Any] | None = None
) -> Lap:
    """One contender in its own process, on one GPU; ``error`` alone where it failed or hung.

    Args:
        switched: Replaces values of the plan that all contenders follow.
    """
    command = [sys.executable, "-m", "benchmarks.throughput.contenders"]
    words = [name, str(data), strategy, model, json.dumps(switched or {})]
    try:
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, env=one_gpu(), timeout=LONGEST
        )
    except subprocess.TimeoutExpired as error:
        return {"error": f"{name} on {strategy}: {error}"}
    if done.returncode:
        return {"error": f"{name} failed on {strategy}:\n{done.stderr[-3000:]}"}
    found: Lap = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rates(laps: list[Lap], seconds: str) -> list[float]:
    """Tokens a second of each lap; NaN where it failed."""
    return [math.nan if "error" in each else each["tokens"] / each[seconds] for each in laps]


def race(data: Path, strategy: str, model: str, rounds: int, seconds: str) -> dict[str, list[Lap]]:
    """All contenders in turn, each with its fastest set-up, so that a slow minute hits all."""
    laps: dict[str, list[Lap]] = {name: [] for name in NAMES}
    for _ in range(rounds):
        for name in NAMES:
            tried = [lap(name, data, strategy, model, each) for each in SETUPS.get(name, ({},))]
            laps[name].append(
                max(tried, key=lambda each: each.get("tokens", 0) / each.get(seconds, 1))
            )
    return laps


def row(title: str, laps: dict[str, list[Lap]], seconds: str) -> list[str]:
    """Rates by one kind of seconds, ratios within rounds, and peaks."""
    rate = {name: rates(laps[name], seconds) for name in NAMES}
    ratios = {
        name: median(
            ours / theirs for ours, theirs in zip(rate["sweeper"], rate[name], strict=True)
        )
        for name in NAMES[1:]
    }
    return [
        title,
        *(f"{median(rate[name]):,.0f}" for name in NAMES),
        *(f"{ratios[name]:.2f}" for name in NAMES[1:]),
        *(f"{median(one.get('peak_gib', math.nan) for one in laps[name]):.2f}" for name in NAMES),
        " / ".join(f"{laps[name][0].get('train_loss', math.nan):.3f}" for name in NAMES),
    ]


def _rows(lengths: str, args: argparse.Namespace, scratch: Path) -> list[dict[str, str]]:
    if lengths == "fixed":
        return texts.fixed(args.rows)
    return texts.given(args.data, args.rows) if args.data else texts.real(args.rows, scratch)


def main() -> None:
    """Race and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--model", default="packaged:smollm2")
    parser.add_argument("--strategies", default="lora,qlora,full")
    parser.add_argument("--lengths", default="fixed,real")
    parser.add_argument("--data", type=Path, help="rows for real lengths: instruction, output")
    parser.add_argument("--cpu", action="store_true", help="count seconds of the CPU")
    parser.add_argument("--rows", type=int, default=52, help="4 of them are not trained on")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write all laps there")
    args = parser.parse_args()
    table = Table(title="tokens a second (padding not counted), peak GiB of the process")
    peaks = [f"{name} GiB" for name in NAMES]
    for column in ("", *NAMES, "/ trl", "/ trainer", *peaks, "train loss"):
        table.add_column(column, justify="right" if column else "left")
    kept: dict[str, dict[str, list[Lap]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for lengths in args.lengths.split(","):
            folder = Path(scratch) / lengths
            folder.mkdir()
            data = texts.write(_rows(lengths, args, folder), folder / "data")
            for strategy in args.strategies.split(","):
                title = f"{strategy}, {lengths} lengths"
                kind = "cpu_seconds" if args.cpu else "seconds"
                kept[title] = race(data, strategy, args.model, args.rounds, kind)
                table.add_row(*row(title, kept[title], kind))
                if args.json:
                    args.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
