"""sweeper and four other searches on one task, one after the other.

    python -m benchmarks.live --data DIR --out DIR

DIR of the data holds train, validation and test in JSON lines of ``text`` and ``label``. Each
contender writes ``OUT/NAME.json`` when it has ended, and is not run again while that is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from benchmarks.devices import QUIET
from benchmarks.live import by_sweeper
from benchmarks.live.record import Diary, Outcome, Point
from benchmarks.live.rows import SPLITS, cut
from benchmarks.live.table import tables
from benchmarks.live.watching import watch

_ROOT = Path(__file__).resolve().parents[2]
# One sample in so many is kept with the outcome: one in two seconds.
_KEPT = 4
NAMES = ("sweeper", "transformers", "ray", "race", "engineer")
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "RAY_USAGE_STATS_ENABLED": "0"}


def contend(name: str, data: Path, out: Path, trials: int, seed: int) -> Outcome:
    """Run one contender from nothing.

    Raises:
        SystemExit: It failed; its log says why.
    """
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.live.contend"]
    command += [name, str(data), str(folder), str(trials), str(seed)]
    if name == "sweeper":
        command = by_sweeper.command(data, trials, seed)
    # A home of its own, so that nothing is known from earlier runs.
    environment = {**os.environ, **QUIET, **_NO_GPU, "SWEEPER_HOME": str(folder / "home")}
    path = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    before = os.getloadavg()[0]
    watched = watch(command, environment, folder, folder / "log.txt")
    if watched.returned:
        said = (folder / "log.txt").read_text(encoding="utf-8")[-3000:]
        raise SystemExit(f"{name} failed ({watched.returned}):\n{said}")
    told = by_sweeper.read(folder) if name == "sweeper" else Diary(folder / "diary.jsonl").read()
    points = tuple(
        Point(
            loss=one.loss,
            cpu=watched.cpu_at(one.at),
            wall=one.at - watched.began,
            trained=one.trained,
        )
        for one in told.seen
    )
    return Outcome(
        name=name,
        points=points,
        search_cpu=watched.cpu_at(told.searched_at),
        search_wall=told.searched_at - watched.began,
        total_cpu=watched.cpu[-1],
        total_wall=watched.ended - watched.began,
        load=(before, os.getloadavg()[0]),
        states=told.states,
        winner=told.winner,
        others=told.others,
        timeline=tuple(
            (round(when - watched.began, 1), round(cpu, 1))
            for when, cpu in zip(watched.times[::_KEPT], watched.cpu[::_KEPT], strict=True)
        ),
    )


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--rows", default="280,245,700", help="train, validation and test")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--contenders", default=",".join(NAMES))
    asked = parser.parse_args()
    out = asked.out.resolve()
    counts = dict(zip(SPLITS, map(int, asked.rows.split(",")), strict=True))
    cut(asked.data, out / "data", counts)
    outcomes: list[Outcome] = []
    for name in asked.contenders.split(","):
        path = out / f"{name}.json"
        if not path.is_file():
            contend(name, out / "data", out, asked.trials, asked.seed).write(path)
        outcomes.append(Outcome.read(path))
        print(f"{name}: done", flush=True)
    print(*tables(outcomes), sep="\n")


if __name__ == "__main__":
    main()
