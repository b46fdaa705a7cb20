"""What one trial costs the process that owns a study, in CPU seconds.

    python -m benchmarks.execution.cost [--earlier 20,128,500,2000] [--trials 10]

A search with so many earlier trials asks for one more, hears eight rungs and their verdicts, and is
told the end; ``study.db`` is written after each of these ten steps, which is the most: a run writes
it once a second. Files of attempts, events and status are not in it: ``benchmarks.execution.fleet``
shows the whole process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.execution.sleeping import RUNGS, curve_backend, items
from sweeper.execution.next_attempt import configure
from sweeper.execution.study_file import StudyFile
from sweeper.plans import Plan
from sweeper.search.optuna_space import candidates
from sweeper.search.search import Asked, End, Restored, Rung, Search, known_starts
from sweeper.trials import RungReport

# Shares of the earlier trials that were stopped at a rung, and that diverged.
STOPPED, DIVERGED = 0.35, 0.05
SECONDS = 20.0


@dataclass
class Cost:
    """CPU seconds of one trial, by what they were spent on.

    Args:
        ask: Choosing it.
        verdicts: Hearing its rungs, and judging each.
        tell: Its end.
        study_file: Writing ``study.db``.
    """

    ask: float = 0.0
    verdicts: float = 0.0
    tell: float = 0.0
    study_file: float = 0.0

    @property
    def together(self) -> float:
        """All of it."""
        return self.ask + self.verdicts + self.tell + self.study_file

    @contextmanager
    def spent_on(self, part: str) -> Iterator[None]:
        """What this thread spends in the block is that part's."""
        began = time.thread_time()
        yield
        setattr(self, part, getattr(self, part) + time.thread_time() - began)


def rungs_of(plan: Plan, asked: Asked) -> list[Rung]:
    """What a trial shows that trains to its end."""
    config = configure(
        plan, candidates(plan)[asked.key], asked.parameters, number=asked.number, attempt=1,
        origin=asked.origin,
    )  # fmt: skip
    reports = [
        RungReport(
            number=asked.number, attempt=1, rung=rung, items=curve_backend.ITEMS,
            validation_loss=curve_backend.loss_at(config, rung), optimizer_steps=5 * rung,
            epochs=rung / 4, tokens=1250 * rung, training_seconds=SECONDS * rung / RUNGS,
            evaluation_seconds=0.0,
        )
        for rung in range(1, RUNGS + 1)
    ]  # fmt: skip
    return [Rung(one.rung, one.validation_loss, items(one)) for one in reports]


def earlier(plan: Plan, count: int) -> list[Restored]:
    """So many trials as another sampler drew them: completed, stopped or diverged."""
    search = Search(plan, tuple(known_starts(plan, count)), sampler="optuna:RandomSampler")
    generator = np.random.default_rng(0)
    return [_ended(plan, search.ask(), generator) for _ in range(count)]


def _ended(plan: Plan, asked: Asked, generator: np.random.Generator) -> Restored:
    rungs, luck = rungs_of(plan, asked), generator.random()
    if asked.origin != "search" or luck > STOPPED + DIVERGED:
        return Restored(asked, rungs, End("COMPLETE", rungs[-1].loss, SECONDS))
    if luck < DIVERGED:
        return Restored(asked, rungs[:1], End("FAIL", None, SECONDS / RUNGS, "diverged"))
    upto = 2 + int(generator.integers(RUNGS - 2))
    return Restored(asked, rungs[:upto], End("PRUNED", rungs[upto - 1].loss, SECONDS))


def costs(folder: Path, count: int, trials: int) -> list[Cost]:
    """Of each of some trials after so many earlier ones."""
    plan = curve_backend.make_plan(count + trials)
    search = Search(plan, tuple(known_starts(plan, count + trials)))
    search.restore(earlier(plan, count))
    file = StudyFile(folder / f"{count}.db", "cost", search.study, print)
    file.write()
    one_trial(plan, search, file)  # the first one after a restore fills caches
    found = [one_trial(plan, search, file) for _ in range(trials)]
    file.close()
    return found


def one_trial(plan: Plan, search: Search, file: StudyFile) -> Cost:
    """A trial that trains to its end whatever the verdicts, so that all cost alike."""
    cost = Cost()

    def write() -> None:
        with cost.spent_on("study_file"):
            file.write({asked.number})

    with cost.spent_on("ask"):
        asked = search.ask()
    write()
    rungs = rungs_of(plan, asked)
    for rung in rungs:
        with cost.spent_on("verdicts"):
            search.report(asked.number, rung)
        write()
    with cost.spent_on("tell"):
        search.tell(asked.number, End("COMPLETE", rungs[-1].loss, SECONDS))
    write()
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.cost")
    parser.add_argument("--earlier", default="20,128,500,2000")
    parser.add_argument("--trials", type=int, default=10)
    chosen = parser.parse_args()
    names = [one.name for one in fields(Cost)]
    print("earlier  " + " ".join(f"{name:>10}" for name in (*names, "together", "dearest")))
    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, chosen.earlier.split(",")):
            found = costs(Path(folder), count, chosen.trials)
            means = [statistics.fmean(getattr(one, name) for one in found) for name in names]
            every = (*means, sum(means), max(one.together for one in found))
            print(f"{count:7}  " + " ".join(f"{one:10.4f}" for one in every), flush=True)


if __name__ == "__main__":
    main()
