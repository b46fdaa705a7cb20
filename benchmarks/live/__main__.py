"""sweeper and four other searches on one task, one after the other.

    python -m benchmarks.live --data DIR --out DIR

DIR of the data holds train, validation and test in JSON lines of ``text`` and ``label``. Each
contender writes ``OUT/MODE-NAME.json`` when it has ended, and is not run again while that is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.live import by_sweeper, table
from benchmarks.live.record import MODES, Diary, Mode, Outcome, Point, Told
from benchmarks.live.rows import SPLITS, cut
from benchmarks.live.watching import Watched, watch

_ROOT = Path(__file__).resolve().parents[2]
# One sample in so many is kept with the outcome: one in two seconds.
_KEPT = 4
NAMES = ("sweeper", "transformers", "ray", "race", "engineer")
# One thread, no spinning, no network, no GPU, for all alike.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def contend(name: str, mode: Mode, data: Path, out: Path, trials: int, seed: int) -> Outcome:
    """Run one contender from nothing.

    Raises:
        SystemExit: It failed; its log says why.
    """
    folder = out / f"{mode}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.live.contend"]
    command += [name, mode, str(data), str(folder), str(trials), str(seed)]
    if name == "sweeper":
        command = by_sweeper.command(mode, data, trials, seed)
    # A home of its own, so that nothing is known from earlier runs.
    environment = {**os.environ, **_ENVIRONMENT, "SWEEPER_HOME": str(folder / "home")}
    path = (str(_ROOT), os.environ.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    before = os.getloadavg()[0]
    watched = watch(command, environment, folder, folder / "log.txt")
    load = (before, os.getloadavg()[0])
    if watched.returned:
        said = (folder / "log.txt").read_text(encoding="utf-8")[-3000:]
        raise SystemExit(f"{mode} {name} failed ({watched.returned}):\n{said}")
    told = by_sweeper.read(folder) if name == "sweeper" else Diary(folder / "diary.jsonl").read()
    return outcome(name, mode, told, watched, load)


def outcome(
    name: str, mode: Mode, told: Told, watched: Watched, load: tuple[float, float]
) -> Outcome:
    """Put what a contender said and what it cost together."""
    points = tuple(
        Point(
            one.loss, watched.cpu_at(one.at), one.at - watched.began, one.trial, trained=one.trained
        )
        for one in told.seen
    )
    return Outcome(
        mode=mode,
        name=name,
        points=points,
        search_cpu=watched.cpu_at(told.searched_at),
        search_wall=told.searched_at - watched.began,
        total_cpu=watched.cpu[-1],
        total_wall=watched.ended - watched.began,
        load=load,
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
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--contenders", default=",".join(NAMES))
    asked = parser.parse_args()
    out = asked.out.resolve()
    data = out / "data"
    counts = dict(zip(SPLITS, map(int, asked.rows.split(",")), strict=True))
    cut(asked.data, data, counts)
    console = Console(width=150)
    for mode in (mode for mode in MODES if mode in asked.modes.split(",")):
        outcomes: list[Outcome] = []
        for name in asked.contenders.split(","):
            path = out / f"{mode}-{name}.json"
            if not path.is_file():
                contend(name, mode, data, out, asked.trials, asked.seed).write(path)
            outcomes.append(Outcome.read(path))
            console.print(f"{mode} {name}: done", highlight=False)
        table.show(console, mode, outcomes)


if __name__ == "__main__":
    main()
