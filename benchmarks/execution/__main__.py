"""What running a study costs beside the trials: the loop alone, then up to sixty-four workers.

python -m benchmarks.execution                      the table of docs/scaling.md
python -m benchmarks.execution --json               the same as JSON lines
python -m benchmarks.execution --storage journal --workers 8 --trials 16 --seconds 5

Exits with 1 if a trial was lost, trained twice or not ended.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.execution import postgresql
from benchmarks.execution.fleet import Measured, measure

STORAGES = ("sqlite", "journal", "postgresql")
# Workers, trials, seconds a trial: the loop alone, then fleets whose trials are as long as the
# shortest real ones.
FLEETS: tuple[tuple[int, int, float], ...] = ((1, 16, 0.0), (8, 16, 10.0), (64, 128, 20.0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution")
    parser.add_argument("--storage", choices=STORAGES, action="append")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    fleets = FLEETS
    if chosen.workers:
        fleets = ((chosen.workers, chosen.trials, chosen.seconds),)
    faults = False
    if not chosen.json:
        print(HEADER)
    for found in fleets_on(tuple(chosen.storage or STORAGES), fleets):
        print(json.dumps(as_json(found)) if chosen.json else row(found), flush=True)
        for fault in found.faults:
            print(f"  {fault}", file=sys.stderr)
        faults |= bool(found.faults)
    return int(faults)


def fleets_on(
    storages: tuple[str, ...], fleets: tuple[tuple[int, int, float], ...]
) -> Iterator[Measured]:
    """Every fleet on every storage, each in a new folder."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        template = _server(stack) if "postgresql" in storages else ""
        for storage in storages:
            for number, (workers, trials, seconds) in enumerate(fleets):
                run = folder / f"{storage}-{number}"
                run.mkdir()
                urls = {"sqlite": f"sqlite:///{run}/study.db", "journal": f"journal:{run}/s.log"}
                url = urls.get(storage) or postgresql.make_database(template, run.name)
                yield measure(run, url, storage, workers, trials, seconds)


def _server(stack: ExitStack) -> str:
    programs = postgresql.programs()
    if programs is None:
        sys.exit("no PostgreSQL server here: install Debian's postgresql, or leave it out with "
                 "--storage sqlite --storage journal")  # fmt: skip
    return stack.enter_context(postgresql.server(programs))


HEADER = (
    f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n"
    "storage      workers trials  trial s  wall s  efficiency  overhead s/trial  CPU s/trial  "
    "calls/s  ms/call  faults"
)


def row(found: Measured) -> str:
    calls = found.calls / found.wall_seconds
    return (
        f"{found.storage:12} {found.workers:7} {found.trials:6} {found.trial_seconds:8.1f} "
        f"{found.wall_seconds:7.1f} {found.efficiency:11.1%} {found.overhead_seconds:17.3f} "
        f"{found.cpu_seconds / found.trials:12.3f} {calls:8.0f} {1000 * found.call_seconds:8.2f} "
        f"{len(found.faults):7}"
    )


def as_json(found: Measured) -> dict[str, object]:
    return {
        **asdict(found),
        "efficiency": round(found.efficiency, 4),
        "overhead_seconds": round(found.overhead_seconds, 4),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
