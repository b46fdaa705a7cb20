"""Many workers of the real loop on one study, over trials that sleep, and what they cost.

Workers are forked from one process that has everything loaded, so that sixty-four fit a small
machine: each runs ``sweeper.execution.worker.work`` with connections of its own. Training is the
tests' curve backend, which sleeps for a given time and reports eight rungs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from optuna.trial import TrialState

TESTS = Path(__file__).parents[2] / "tests" / "execution"
sys.path.insert(0, str(TESTS))

import curve_backend  # noqa: E402
from sweeper.execution.claims import Queue, lease_of  # noqa: E402
from sweeper.execution.slots import top_up  # noqa: E402
from sweeper.search.storage import Storage, open_storage  # noqa: E402

from sweeper.execution import worker  # noqa: E402
from sweeper.execution.events import Event  # noqa: E402
from sweeper.runfolder import RunFolder  # noqa: E402
from sweeper.search.study import (  # noqa: E402
    CLOSED,
    OPEN,
    PHASE,
    SPEC,
    TOTAL,
    create_study,
    jobs_name,
)

STEPS_A_TRIAL = 8 * curve_backend.STEPS_A_RUNG
# The command looks at both queues this often.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Measured:
    """What one fleet came to.

    Args:
        trial_seconds: How long a trial sleeps that is not pruned.
        wall_seconds: From the start of the first worker to the end of the last trial.
        slept_seconds: All that trials slept: the work itself.
        active_seconds: Over all workers, from a worker's start to the end of its last trial.
        cpu_seconds: Processor time of all workers.
        calls: Calls of the storage by all workers.
        call_seconds: Mean duration of one.
        faults: Trials that were lost, trained twice, or not ended.
    """

    storage: str
    workers: int
    trials: int
    trial_seconds: float
    wall_seconds: float
    slept_seconds: float
    active_seconds: float
    cpu_seconds: float
    calls: int
    call_seconds: float
    faults: tuple[str, ...]

    @property
    def efficiency(self) -> float:
        """The share of workers' time that trials slept."""
        return self.slept_seconds / self.active_seconds

    @property
    def overhead_seconds(self) -> float:
        """What a trial costs a worker beside the trial itself."""
        return (self.active_seconds - self.slept_seconds) / self.trials


class Counting:
    """Optuna's storage interface, counted and timed call by call."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.calls, self.seconds = inner, 0, 0.0

    def __getattr__(self, name: str) -> Any:
        known = getattr(self.inner, name)
        if not callable(known):
            return known

        def counted(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return known(*args, **kwargs)
            finally:
                self.calls += 1
                self.seconds += time.perf_counter() - began

        return counted


def measure(
    folder: Path, url: str, storage: str, workers: int, trials: int, trial_seconds: float
) -> Measured:
    """Run one fleet in a new folder."""
    run, queue = _prepare(folder, url, trials)
    began = time.monotonic()
    children = [_fork(partial(_work, run, url, n, trial_seconds)) for n in range(workers)]
    _await(queue, trials, children)
    queue.study.set_user_attr(PHASE, CLOSED)
    for child in children:
        os.waitpid(child, 0)
    notes = [json.loads(path.read_text()) for path in sorted(folder.glob("note-*.json"))]
    ended = [trial.number for trial in queue.trials() if trial.state.is_finished()]
    step = trial_seconds / STEPS_A_TRIAL
    slept = sum(_steps(run, number) * step for number in ended)
    calls = sum(note["calls"] for note in notes)
    return Measured(
        storage=storage,
        workers=workers,
        trials=trials,
        trial_seconds=trial_seconds,
        wall_seconds=max(note["last"] for note in notes) - began,
        slept_seconds=slept,
        active_seconds=sum(note["last"] - note["first"] for note in notes),
        cpu_seconds=sum(note["cpu"] for note in notes),
        calls=calls,
        call_seconds=sum(note["seconds"] for note in notes) / max(1, calls),
        faults=tuple(_faults(run, queue, trials, len(notes), workers)),
    )


def _prepare(folder: Path, url: str, trials: int) -> tuple[RunFolder, Queue]:
    run = RunFolder(folder)
    plan, spec = curve_backend.make_plan(trials), curve_backend.make_spec(trials, storage=url)
    plan.write(run.plan)
    storage = open_storage(url)
    create_study(storage, jobs_name(folder.name))
    queue = Queue(storage, create_study(storage, folder.name))
    for key, value in ((SPEC, spec.to_json()), (TOTAL, trials), (PHASE, OPEN)):
        queue.study.set_user_attr(key, value)
    top_up(queue, plan, trials)
    return run, queue


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def _work(run: RunFolder, url: str, number: int, trial_seconds: float) -> None:
    curve_backend.STEP_SECONDS = trial_seconds / STEPS_A_TRIAL
    times: list[float] = []
    counted: list[Counting] = []

    def opened(wanted: str) -> Storage:
        storage = open_storage(wanted)
        counted.append(Counting(storage.optuna))
        return replace(storage, optuna=counted[0])  # type: ignore[arg-type]

    def tell(event: Event) -> None:
        if event.kind in ("worker-started", "trial-ended"):
            times.append(time.monotonic())

    worker.open_storage = opened  # type: ignore[attr-defined, assignment]
    # Nobody starts a fleet in the same instant.
    time.sleep(0.02 * number)
    worker.work(run, url, "curve_backend:make", worker=str(number), parent=os.getppid(), tell=tell)
    used = psutil.Process().cpu_times()
    note = {
        "first": times[0],
        "last": times[-1],
        "cpu": used.user + used.system,
        "calls": counted[0].calls,
        "seconds": counted[0].seconds,
    }
    (run.path / f"note-{number}.json").write_text(json.dumps(note))


def _await(queue: Queue, trials: int, children: list[int]) -> None:
    while sum(trial.state.is_finished() for trial in queue.trials()) < trials:
        time.sleep(_LOOK_SECONDS)
        if not any(psutil.pid_exists(child) for child in children):
            return


def _steps(run: RunFolder, number: int) -> int:
    result = json.loads((run.trial(number) / "result.json").read_text())
    return int(result["optimizer_steps"])


def _faults(run: RunFolder, queue: Queue, trials: int, notes: int, workers: int) -> list[str]:
    found = [f"{workers - notes} workers ended with an error"] if notes < workers else []
    lines = (run.path / "trained.log").read_text().splitlines()
    trained = Counter(int(line.split()[0]) for line in lines)
    for trial in queue.trials():
        if trained[trial.number] != 1:
            found.append(f"trial {trial.number} was trained {trained[trial.number]} times")
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            found.append(f"trial {trial.number} is {trial.state.name}")
        if lease_of(trial).attempt != 1:
            found.append(f"trial {trial.number} had {lease_of(trial).attempt} attempts")
    if len(queue.trials()) != trials:
        found.append(f"{len(queue.trials())} trials instead of {trials}")
    return found
