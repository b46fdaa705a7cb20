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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.execution.sleeping import RUNGS, curve_backend, items
from sweeper.execution.next_attempt import configure
from sweeper.execution.study_file import StudyFile
from sweeper.plans import Plan
from sweeper.search.search import Search, known_starts
from sweeper.trials import Failure, RungReport, Trial, TrialResult

Earlier = tuple[Trial, Sequence[RungReport], TrialResult]

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


def reports_of(plan: Plan, trial: Trial) -> list[RungReport]:
    """What a trial shows that trains to its end."""
    config = configure(plan, trial)
    reports = [
        RungReport(
            number=trial.number, attempt=1, rung=rung, items=curve_backend.ITEMS,
            validation_loss=curve_backend.loss_at(config, rung), optimizer_steps=5 * rung,
            epochs=rung / 4, tokens=1250 * rung, training_seconds=SECONDS * rung / RUNGS,
        )
        for rung in range(1, RUNGS + 1)
    ]  # fmt: skip
    return [one.model_copy(update={"first_items": items(one)}) for one in reports]


def earlier(plan: Plan, count: int) -> list[Earlier]:
    """So many trials as another sampler drew them: completed, stopped or diverged."""
    search = Search(plan, tuple(known_starts(plan, count)), sampler="optuna:RandomSampler")
    generator = np.random.default_rng(0)
    return [_ended(plan, search.ask(), generator) for _ in range(count)]


def _ended(plan: Plan, trial: Trial, generator: np.random.Generator) -> Earlier:
    reports, luck = reports_of(plan, trial), generator.random()
    if trial.origin != "search" or luck > STOPPED + DIVERGED:
        return trial, reports, completed(reports)
    if luck < DIVERGED:
        failure = Failure(kind="diverged", detail="")
        result = TrialResult(state="FAIL", failure=failure, training_seconds=SECONDS / RUNGS)
        return trial, reports[:1], result
    upto = 2 + int(generator.integers(RUNGS - 2))
    return trial, reports[:upto], TrialResult(state="PRUNED", training_seconds=SECONDS)


def completed(reports: Sequence[RungReport]) -> TrialResult:
    """The end of a trial that trained to its end."""
    loss = reports[-1].validation_loss
    return TrialResult(state="COMPLETE", validation_loss=loss, training_seconds=SECONDS)


def costs(folder: Path, count: int, trials: int) -> list[Cost]:
    """Of each of some trials after so many earlier ones."""
    plan = curve_backend.make_plan(count + trials)
    search = Search(plan, tuple(known_starts(plan, count + trials)))
    for one in earlier(plan, count):
        search.restore(*one)
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
            file.write({trial.number})

    with cost.spent_on("ask"):
        trial = search.ask()
    write()
    reports = reports_of(plan, trial)
    for report in reports:
        with cost.spent_on("verdicts"):
            search.report(trial.number, report)
        write()
    with cost.spent_on("tell"):
        search.tell(trial.number, completed(reports))
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
