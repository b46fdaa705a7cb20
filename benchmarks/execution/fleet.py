"""How much of many workers' time trials get, over the real protocol and trials that sleep.

    python -m benchmarks.execution.fleet                          64 processes, 128 trials of 20 s
    python -m benchmarks.execution.fleet --threads --workers 500 --trials 2000 --seconds 300
    python -m benchmarks.execution.fleet --scale 0.05 --json      a quick look

Workers run the loop of ``sweeper.execution.worker`` over pipes. They are forked from a process that
has everything loaded, or, with ``--threads``, are threads of one such process. Exits with 1 if a
trial was lost, trained twice or not ended.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import math
import os
import resource
import select
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import BinaryIO
from unittest.mock import patch

import optuna

from benchmarks.execution.sleeping import NOTES, STEPS_A_TRIAL, curve_backend
from sweeper.child_process import die_with
from sweeper.execution import coordinator
from sweeper.execution.pools import local_pool
from sweeper.execution.pools.local_pool import LocalPool, Process, log_of
from sweeper.execution.state.attempts import RESULT
from sweeper.execution.worker.__main__ import main as worker_main
from sweeper.execution.worker.__main__ import work
from sweeper.execution.worker.link import Link
from sweeper.execution.worker.run_check import Briefing
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.trials import TrialResult

BACKEND = "benchmarks.execution.sleeping:make"
# A sleeper's threads: one that trains, one that hears orders, one that watches.
_STACK_BYTES = 512 * 1024


@dataclass
class Piped:
    """What a pool needs of a ``subprocess.Popen``, for a worker that is started otherwise.

    Args:
        pid: Of the process that the worker is, or is in.
        stdin: Takes its orders.
        stdout: Gives its messages.
    """

    pid: int
    stdin: BinaryIO
    stdout: BinaryIO
    returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended, once it has."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode


class Sleeper(Piped):
    """A worker that is a thread: it has ended once it has closed its pipe."""

    def poll(self) -> int | None:
        state = select.poll()
        state.register(self.stdout, 0)
        return 0 if state.poll(0) else None


@dataclass(frozen=True)
class Pipes:
    """The four ends of a worker's two pipes."""

    orders_out: int
    orders_in: int
    messages_out: int
    messages_in: int

    @classmethod
    def make(cls) -> Pipes:
        """Two new pipes."""
        (out, into), (heard, said) = os.pipe(), os.pipe()
        return cls(out, into, heard, said)

    def piped(self, made: Callable[[int, BinaryIO, BinaryIO], Piped], pid: int) -> Piped:
        """The command's ends; the worker's are closed."""
        os.close(self.orders_out)
        os.close(self.messages_in)
        return made(pid, os.fdopen(self.orders_in, "wb", 0), os.fdopen(self.messages_out, "rb", 0))


@dataclass
class Ready(LocalPool):
    """The real pool of this machine, with workers that were started before it."""

    started: list[Piped] = field(default_factory=list)

    def _launch(self, name: str) -> Process:
        process = Process(self.started[int(name)])  # type: ignore[arg-type]
        os.write(process.orders, self.briefing.model_dump_json().encode() + b"\n")
        return process


def forked(run: RunFolder, workers: int) -> list[Piped]:
    """Worker processes, forked from this one, that wait for their briefing."""
    started: list[Piped] = []
    for name in map(str, range(workers)):
        pipes = Pipes.make()
        others = [one.stdin.fileno() for one in started] + [pipes.orders_in, pipes.messages_out]
        parent, child = os.getpid(), os.fork()
        if child == 0:
            os.setpgrp()
            for handle in others:
                os.close(handle)
            log = os.open(log_of(run, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for own, handle in enumerate((pipes.orders_out, pipes.messages_in, log)):
                os.dup2(handle, own)
            words = ["--run", str(run.path), "--worker-id", name, "--parent", str(parent)]
            _leave(functools.partial(worker_main, words))
        started.append(pipes.piped(Piped, child))
    return started


def sleepers(run: RunFolder, workers: int) -> list[Piped]:
    """Workers that are threads of one other process."""
    pipes = [Pipes.make() for _ in range(workers)]
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.setpgrp()
        die_with(parent)
        for one in pipes:
            os.close(one.orders_in)
            os.close(one.messages_out)
        log = os.open(log_of(run, "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _leave(lambda: _sleep_all(run, pipes))
    return [one.piped(Sleeper, child) for one in pipes]


def _leave(work: Callable[[], int]) -> None:
    status = 1
    try:
        status = work()
    finally:
        os._exit(status)


def _sleep_all(run: RunFolder, pipes: Sequence[Pipes]) -> int:
    threading.stack_size(_STACK_BYTES)
    threads = [
        threading.Thread(target=_sleeper, args=(run, str(name), one))
        for name, one in enumerate(pipes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _sleeper(run: RunFolder, name: str, pipes: Pipes) -> None:
    with os.fdopen(pipes.messages_in, "wb") as messages:
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(pipes.orders_out, 1)
        link = Link(pipes.orders_out, messages)
        # What Link.listen does beside setting signals, which a thread cannot.
        threading.Thread(target=link._listen, daemon=True).start()
        with suppress(BrokenPipeError):
            work(run, Briefing.model_validate_json(line), link, name)


@dataclass(frozen=True)
class Measured:
    """What one fleet came to.

    Args:
        kind: ``processes`` or ``threads``.
        trial_seconds: How long a trial sleeps that is not pruned.
        wall_seconds: From the first worker's being ready to the end of the last trial.
        slept_seconds: All that trials slept: the work itself.
        active_seconds: Over all workers, from a worker's being ready to the end of its last trial.
        idle_seconds: Of these, without a trial.
        waited_seconds: Of these, until a verdict came. What is then left is the machine's: workers
            that sleep too long because others have the processor.
        owner_cpu_seconds: Processor time of the command's process, whole run.
        verdict_seconds: The median, 99th percentile and longest wait of a worker for a verdict.
        load: Of the machine at the end, one-minute average.
        faults: Trials that were lost, trained twice, or not ended.
    """

    kind: str
    workers: int
    trials: int
    trial_seconds: float
    wall_seconds: float
    slept_seconds: float
    active_seconds: float
    idle_seconds: float
    waited_seconds: float
    owner_cpu_seconds: float
    verdict_seconds: tuple[float, float, float]
    load: float
    faults: tuple[str, ...]

    @property
    def efficiency(self) -> float:
        """The share of workers' time in which trials slept."""
        return self.slept_seconds / self.active_seconds

    @property
    def overhead_seconds(self) -> float:
        """What a trial costs a worker beside the trial itself."""
        return (self.active_seconds - self.slept_seconds) / self.trials


def measure(
    folder: Path,
    workers: int,
    trials: int,
    trial_seconds: float,
    *,
    threads: bool,
    search: Mapping[str, str] = {},
) -> Measured:
    """Run one study with one fleet in a new folder.

    Args:
        folder: Of the run.
        workers: How many.
        trials: The study's total.
        trial_seconds: How long a trial sleeps that is not pruned.
        threads: Whether workers are threads of one process.
        search: The spec's sampler and pruner, if they are to be others than ours.
    """
    _allow_files(4 * workers + 256)
    run = RunFolder(folder.resolve())
    curve_backend.STEP_SECONDS = trial_seconds / STEPS_A_TRIAL
    plan = curve_backend.make_plan(trials)
    spec = curve_backend.make_spec(trials, workers, **search)
    budget = plan.budget.model_copy(update={"finalists": 1, "confirmation_seeds": 1})
    plan = plan.model_copy(update={"budget": budget})
    gc.freeze()
    started = (sleepers if threads else forked)(run, workers)

    def pool(run: RunFolder, spec: Spec, plan: Plan, briefing: Briefing) -> tuple[Ready, str]:
        return Ready(run, briefing, [{}] * workers, started=started), ""

    ended: Callable[..., object] = Sleeper.poll if threads else local_pool._status
    before = time.process_time()
    with patch.object(coordinator, "pool_for", pool), patch.object(local_pool, "_status", ended):
        outcome = coordinator.run_sweep(run, spec, plan, backend=BACKEND)
    used = time.process_time() - before
    if threads:
        os.waitpid(started[0].pid, 0)
    return _measured(run, outcome.kind, workers, trials, trial_seconds, used, threads=threads)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


def _measured(
    run: RunFolder,
    outcome: str,
    workers: int,
    trials: int,
    trial_seconds: float,
    used: float,
    *,
    threads: bool,
) -> Measured:
    read = [
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted((run.path / NOTES).glob("*.jsonl"))
    ]
    ready = [lines[0]["ready"] for lines in read]
    trained = [lines[1:] for lines in read]
    every = [one for lines in trained for one in lines]
    waited = sorted(seconds for one in every for seconds in one["waited"])
    cuts = quantiles(waited, n=100, method="inclusive")
    faults = [] if outcome == "complete" else [f"the run ended as {outcome}"]
    if len(read) < min(workers, trials):
        faults.append(f"{len(read)} of {workers} workers came to be ready")
    active = math.fsum(
        lines[-1]["ended"] - began for began, lines in zip(ready, trained, strict=True) if lines
    )
    return Measured(
        kind="threads" if threads else "processes",
        workers=workers,
        trials=trials,
        trial_seconds=trial_seconds,
        wall_seconds=max(one["ended"] for one in every) - min(ready),
        slept_seconds=math.fsum(one["slept"] for one in every),
        active_seconds=active,
        idle_seconds=active - math.fsum(one["ended"] - one["began"] for one in every),
        waited_seconds=math.fsum(waited),
        owner_cpu_seconds=used,
        verdict_seconds=(cuts[49], cuts[98], waited[-1]),
        load=os.getloadavg()[0],
        faults=(*faults, *_faults(run, trials)),
    )


def _faults(run: RunFolder, trials: int) -> list[str]:
    """Each trial that was lost, trained twice or is not ended, in files or storage."""
    lines = (run.path / "trained.log").read_text(encoding="utf-8").splitlines()
    counts = Counter(int(line.split()[0]) for line in lines)
    study = optuna.load_study(study_name=run.path.name, storage=f"sqlite:///{run.study}")
    stored = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    found = []
    if sorted(stored) != list(range(trials)):
        found.append(f"{len(stored)} trials in the storage instead of {trials}")
    for number in range(trials):
        if counts[number] != 1:
            found.append(f"trial {number} was trained {counts[number]} times")
        result = TrialResult.read_or_none(run.trial(number) / RESULT)
        state = result.state if result is not None else "without a result"
        there = stored[number].state.name if number in stored else "missing"
        if state != there or state == "FAIL":
            found.append(f"trial {number} is {state}, in the storage {there}")
    return found


HEADER = (
    "workers   kind       trials  trial s   wall s  efficiency  overhead s/trial (idle  verdicts)  "
    "owner CPU s/trial  verdict p50   p99    max s  faults  load"
)


def row(found: Measured) -> str:
    p50, p99, longest = found.verdict_seconds
    return (
        f"{found.workers:7}   {found.kind:9} {found.trials:7} {found.trial_seconds:8.1f} "
        f"{found.wall_seconds:8.1f} {found.efficiency:11.1%} {found.overhead_seconds:17.3f} "
        f"{found.idle_seconds / found.trials:6.3f} {found.waited_seconds / found.trials:10.3f} "
        f"{found.owner_cpu_seconds / found.trials:18.4f} {p50:12.4f} {p99:6.3f} {longest:7.3f} "
        f"{len(found.faults):7} {found.load:5.1f}"
    )


def as_json(found: Measured) -> dict[str, object]:
    more = {"efficiency": found.efficiency, "overhead_seconds": found.overhead_seconds}
    return asdict(found) | {name: round(value, 4) for name, value in more.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.fleet")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one trial")
    parser.add_argument("--scale", type=float, default=1.0, help="times the seconds")
    parser.add_argument("--threads", action="store_true", help="workers are threads of one process")
    parser.add_argument("--sampler", default="sweeper")
    parser.add_argument("--pruner", default="sweeper")
    parser.add_argument("--keep", type=Path, help="run in this folder, and leave it there")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.keep or Path(made) / "fleet"
        folder.mkdir(parents=True)
        seconds = chosen.seconds * chosen.scale
        found = measure(
            folder,
            chosen.workers,
            chosen.trials,
            seconds,
            threads=chosen.threads,
            search={"sampler": chosen.sampler, "pruner": chosen.pruner},
        )
    if chosen.json:
        print(json.dumps(as_json(found)))
    else:
        print(f"{os.cpu_count()} cores\n{HEADER}\n{row(found)}")
    for fault in found.faults:
        print(f"  {fault}", file=sys.stderr)
    return int(bool(found.faults))


if __name__ == "__main__":
    sys.exit(main())
