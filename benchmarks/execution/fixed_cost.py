"""What a trial after the first costs beside its training: one worker, SQLite, the real command.

    python -m benchmarks.execution.fixed_cost [--trials 40] [--rounds 3] [--before FOLDER]

Trials of the tests' curve backend do nothing, so that what passes from one to the next is cost:
eight verdicts, a result, the next choice, and whatever the command does meanwhile. ``--before`` is
an earlier checkout, whose own curve backend is used; the two run in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).parents[2]
WORDS = (
    "--task classification --model packaged:minilm --data rows.jsonl --progress none "
    "--strategies lora,full,head --finalists 1 --confirmation-seeds 1 --max-length 32 "
    "--backend curve_backend:make --name fixed"
)


@dataclass(frozen=True)
class Measured:
    """One study whose trials do nothing.

    Args:
        seconds: From one trial's begin to the next one's, mean over all after the first.
        cpu_seconds: Of the command and its worker, a trial, start and end included.
        load: Of the machine, one-minute average.
    """

    seconds: float
    cpu_seconds: float
    load: float


def write_rows(path: Path, each: int = 40) -> None:
    """A small classification task."""
    words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
    rows = [
        {"text": f"what do you know about {names.split()[n % 3]} number {n}", "label": label}
        for label, names in words.items()
        for n in range(each)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def paths(checkout: Path) -> str:
    """``PYTHONPATH`` of a checkout with its tests' curve backend."""
    return os.pathsep.join([str(checkout), str(checkout / "tests" / "execution")])


def measure(checkout: Path, trials: int) -> Measured:
    """Run a study of the checkout's command."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.jsonl")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program = [sys.executable, "-m", "sweeper.cli.main", "run", *WORDS.split()]
        done = subprocess.run(
            [*program, "--trials", str(trials)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = sorted(
            _begun(path) for path in Path(folder).glob("runs/fixed/trials/*/attempts/1/config.json")
        )
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert len(begun) == trials
    return Measured((begun[-1] - begun[0]) / (trials - 1), used / trials, os.getloadavg()[0])


def _begun(config: Path) -> float:
    # Written as the trial is handed out, and not again.
    return config.stat().st_mtime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.fixed_cost")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="an earlier checkout")
    chosen = parser.parse_args()
    checkouts = [one for one in (chosen.before, HERE) if one is not None]
    found: dict[Path, list[Measured]] = {one: [] for one in checkouts}
    print("checkout      s/trial  CPU s/trial  load")
    for _ in range(chosen.rounds):
        for checkout in checkouts:
            one = measure(checkout.resolve(), chosen.trials)
            found[checkout].append(one)
            name = "before" if checkout is chosen.before else "now"
            print(
                f"{name:11} {one.seconds:9.3f} {one.cpu_seconds:12.3f} {one.load:5.1f}", flush=True
            )
    mid = [median(one.seconds for one in each) for each in found.values()]
    print("median      " + "  ".join(f"{one:.3f} s" for one in mid), end="")
    print(f"  (now / before: {mid[1] / mid[0]:.2f})" if chosen.before else "")


if __name__ == "__main__":
    main()
