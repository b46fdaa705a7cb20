"""Planned beside measured memory: one short trial of every strategy on every task.

``python -m benchmarks.memory.trials --out FILE`` runs ``sweeper run`` for each pair of a strategy
and a task, one process at a time, and appends a line of JSON. ``--show FILE`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import json_lines
from benchmarks.devices import LONGEST, one_gpu
from sweeper.traits.traits import known_strategies

#: Agreement: within this share of the measured figure, or within so many GiB.
SHARE, GIB = 0.2, 0.2


@dataclass(frozen=True)
class Work:
    """A model and data to train on, as ``sweeper run`` takes them."""

    name: str
    model: str
    task: str
    data: str
    rows: int
    more: tuple[str, ...] = ()


#: Caps are below most texts' lengths, so that the largest batch is as long as planned.
WORK = (
    Work("short texts", "packaged:minilm", "classification", "snips7/train.jsonl", 200),
    Work("short texts", "packaged:smollm2", "classification", "snips7/train.jsonl", 100),
    Work(
        "long texts", "packaged:minilm", "classification", "pubmedqa/train.jsonl", 60,
        ("--column", "text=contexts", "--column", "label=answer", "--max-length", "192"),
    ),
    Work(
        "instructions", "packaged:smollm2", "instruction", "self_instruct_seed/train.jsonl", 48,
        ("--max-length", "64"),
    ),
    Work("functions", "packaged:smollm2", "code", "mbpp/train.jsonl", 48, ("--max-length", "96")),
    Work(
        "corpus", "packaged:smollm2", "domain", "self_instruct_seed/train.jsonl", 48,
        ("--corpus", "pubmedqa/corpus.jsonl", "--corpus-rows", "40", "--max-length", "64"),
    ),
)  # fmt: skip


def measured(work: Work, strategy: str, data: Path, folder: Path, home: Path) -> dict[str, Any]:
    """Run one trial at the strategy's defaults; its planned and its measured memory and time.

    Args:
        folder: Of the run.
        home: With prepared models; what earlier trials taught is removed.

    Returns:
        ``planned_gib``, ``low_gib`` and ``high_gib`` without the process that is there before,
        ``measured_gib`` and the set-up; or ``error``, the last lines of the run.
    """
    more = [str(data / word) if word.endswith(".jsonl") else word for word in work.more]
    command = [
        *(sys.executable, "-m", "sweeper", "run", "--name", "one"),
        *("--model", work.model, "--task", work.task, "--data", str(data / work.data), *more),
        *("--max-rows", str(work.rows), "--strategies", strategy, "--trials", "1"),
        *("--epochs", "1", "--finalists", "1", "--confirmation-seeds", "1"),
        *("--generate-items", "0", "--progress", "none", "--no-probe"),
    ]
    shutil.rmtree(home / "measured", ignore_errors=True)
    around = one_gpu() | {"SWEEPER_HOME": str(home)}
    case = {"model": work.model, "task": work.task, "texts": work.name, "strategy": strategy}
    try:
        done = subprocess.run(
            command, cwd=folder, env=around, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired as error:
        return case | {"error": [str(error)]}
    result = folder / "runs" / "one" / "trials" / "0" / "result.json"
    if not result.is_file():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return case | {"error": lines[-4:]}
    plan = json.loads((folder / "runs" / "one" / "plan.json").read_text(encoding="utf-8"))
    candidate, trial = plan["candidates"][0], json.loads(result.read_text(encoding="utf-8"))
    memory = candidate["memory"]
    process = memory["parts"].get("process", 0.0)
    setup = ("precision", "micro_batch", "evaluation_batch", "sequence_length", "optimizer")
    return case | {
        "planned_gib": round(memory["peak_gib"] - process, 3),
        "low_gib": round(memory["low_gib"] - process, 3),
        "high_gib": round(memory["high_gib"] - process, 3),
        "measured_gib": trial["peak_memory_gib"] and round(trial["peak_memory_gib"], 3),
        "planned_seconds": candidate["duration"]["seconds"],
        "low_seconds": candidate["duration"]["low"],
        "high_seconds": candidate["duration"]["high"],
        "measured_seconds": trial["training_seconds"] + trial["evaluation_seconds"],
        "parts": memory["parts"],
        **{name: candidate["setup"][name] for name in setup},
    }


def agrees(row: dict[str, Any]) -> bool:
    """Whether plan and measurement are within 20% or 0.2 GiB of each other."""
    off = abs(row["planned_gib"] - row["measured_gib"])
    return bool(off <= max(SHARE * row["measured_gib"], GIB))


def show(path: Path, console: Console) -> None:
    """The table of a file of measurements; the last of each pair counts."""
    rows = {_key(row): row for row in json_lines.read(path)}
    table = Table(title="Memory of one trial, GiB", title_justify="left")
    for name in ("model", "task", "texts", "strategy", "planned", "measured", "ratio", "agrees"):
        table.add_column(name)
    told = [row for row in rows.values() if row.get("measured_gib")]
    for row in told:
        planned, found = row["planned_gib"], row["measured_gib"]
        names = [row[name].removeprefix("packaged:") for name in ("model", "task", "texts")]
        table.add_row(
            *names, row["strategy"], f"{planned:.2f} ({row['low_gib']:.2f}-{row['high_gib']:.2f})",
            f"{found:.2f}", f"{planned / found:.2f}", "yes" if agrees(row) else "no",
        )  # fmt: skip
    console.print(table)
    inside = sum(row["low_gib"] <= row["measured_gib"] <= row["high_gib"] for row in told)
    console.print(
        f"{sum(map(agrees, told))} of {len(told)} within 20% or 0.2 GiB; {inside} in the interval."
    )


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return (row["model"], row["task"], row["texts"], row["strategy"])


def main() -> None:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.trials", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON Lines to append to")
    parser.add_argument("--show", type=Path, help="JSON Lines to show")
    parser.add_argument("--data", type=Path, help="folder with the data sets")
    parser.add_argument("--strategies", default=",".join(known_strategies()))
    parser.add_argument("--tasks", default=",".join(sorted({work.task for work in WORK})))
    chosen = parser.parse_args()
    if chosen.show:
        show(chosen.show, Console(width=110))
        return
    if chosen.out is None or chosen.data is None:
        parser.error("give --out and --data, or --show")
    strategies, tasks = chosen.strategies.split(","), chosen.tasks.split(",")
    with tempfile.TemporaryDirectory() as home:
        for work, strategy in product([one for one in WORK if one.task in tasks], strategies):
            with tempfile.TemporaryDirectory() as folder:
                row = measured(work, strategy, chosen.data.resolve(), Path(folder), Path(home))
            json_lines.append(chosen.out, row)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
