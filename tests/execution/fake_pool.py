"""A pool without processes: it speaks the protocol, and each worker plays what a test wrote.

A part is a generator of messages; it receives the order that answers a rung. ``Dies`` ends its
worker, ``None`` is a moment in which nothing is heard of it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from configs import trials_of
from curve_backend import loss_at, make_plan, make_spec
from optuna.trial import FrozenTrial

from sweeper.backend import Decision
from sweeper.execution import coordinator
from sweeper.execution.coordinator import RunOutcome, run_sweep
from sweeper.execution.job import (
    Close,
    Hello,
    Job,
    JobEnded,
    Message,
    Order,
    Ready,
    RungAnswer,
    Stop,
    line_of,
    read_message,
)
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage
from sweeper.execution.state import attempts
from sweeper.execution.state.status import Event, Status
from sweeper.plans import Plan
from sweeper.runfolder import SCORE, RunFolder
from sweeper.training.checkpoints import UNFINISHED, Checkpoint, checkpoint_folder, seal
from sweeper.trials import BaselineResult, RungReport, TestScore, TrialResult

RUNGS = 8


@dataclass(frozen=True)
class Dies:
    """The worker is gone."""

    status: int | None = -9
    out_of_memory: bool = False
    lost: bool = False


Said_ = Message | Dies | None
Part = Generator[Said_, Order | None, None]
Plays = Callable[[RunFolder, Job], Part]


@dataclass
class _Worker:
    greeted: int = 0
    part: Part | None = None
    message: Said_ = None
    orders: list[Order] = field(default_factory=list)
    ended: Dies | None = None


@dataclass
class FakePool:
    """See ``Pool``.

    Args:
        run: The run's folder.
        size: How many workers there may be.
        parts: What is played, by ``name`` or ``name/attempt`` (``score-name`` where a model is
            scored on the test split); all else is done well.
    """

    run: RunFolder
    size: int = 1
    parts: dict[str, Plays] = field(default_factory=dict)
    hello: Hello = field(default_factory=lambda: Hello(host="here", process=1))
    ready: Ready = field(default_factory=Ready)
    jobs: list[Job] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    closed: bool = False
    on_poll: Callable[[], None] = lambda: None
    _workers: dict[str, _Worker] = field(default_factory=dict)

    @property
    def workers(self) -> Collection[str]:
        return list(self._workers)

    def start(self, count: int) -> None:
        for name in map(str, range(self.size)):
            if len(self._workers) < min(count, self.size) and name not in self._workers:
                self._workers[name] = _Worker()

    def send(self, worker: str, order: Order) -> None:
        order = read_message(line_of(order))
        if worker in self._workers:
            self._workers[worker].orders.append(order)

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        self.on_poll()
        for name, worker in list(self._workers.items()):
            said = worker.ended or self._next(worker)
            if isinstance(said, Dies):
                del self._workers[name]
                yield WorkerGone(name, said.status, said.out_of_memory, said.lost)
            elif said is not None:
                yield WorkerMessage(name, read_message(line_of(said)))

    def _next(self, worker: _Worker) -> Said_:
        if worker.greeted < 2:
            worker.greeted += 1
            return self.hello if worker.greeted == 1 else self.ready
        if worker.part is None:
            order = worker.orders.pop(0) if worker.orders else None
            if isinstance(order, Job):
                self.jobs.append(order)
                job = order
                name = f"score-{job.name}" if job.kind == "test" else job.name
                known = self.parts.get(f"{name}/{job.attempt}") or self.parts.get(name)
                worker.part = (known or does_well)(self.run, job)
                worker.message = None
            return Dies(0) if isinstance(order, Close | Stop) else None
        answer = worker.orders.pop(0) if worker.orders else None
        if isinstance(worker.message, RungReport):
            assert answer is not None, "a rung was not answered at once"
        if isinstance(answer, Stop) and not isinstance(worker.message, RungReport):
            worker.part, name = None, self.jobs[-1].name
            worker.orders.append(Close())
            return JobEnded(end="interrupted", detail="told to stop")
        with contextlib.suppress(StopIteration):
            worker.message = (
                next(worker.part) if worker.message is None else worker.part.send(answer)
            )
            if isinstance(worker.message, JobEnded):
                worker.part = None
                if worker.message.end not in (None, "refused"):
                    worker.ended = Dies(0 if worker.message.end == "interrupted" else 70)
            return worker.message
        raise AssertionError("a part did not end with JobEnded or Dies")

    def kill(self, worker: str | None = None) -> None:
        for name, one in self._workers.items():
            if worker in (None, name):
                one.ended = Dies(-9)

    def notices(self) -> list[str]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        self._workers.clear()
        self.closed = True


def does_well(run: RunFolder, job: Job) -> Part:
    """Any job, done to its end."""
    if job.kind == "baselines":
        for name, loss in (("majority", 1.9), ("tfidf", 0.8)):
            result = BaselineResult(name=name, title=name, validation_loss=loss)
            yield result
    elif job.kind == "test":
        write_score(run, job)
    else:
        report = None
        for report in reports(job):
            answer = yield report
            if isinstance(answer, Stop):
                yield JobEnded(end="interrupted", detail="told to")
                return
            assert isinstance(answer, RungAnswer)
            if answer.decision is Decision.PRUNE:
                result_of(job, "PRUNED", report.rung).write(folder(run, job) / attempts.RESULT)
                break
        else:
            write_result(run, job)
    yield JobEnded()


def ends_without_result(kind: str, detail: str = "why", *, after: int = 0) -> Plays:
    """A part that says after some rungs that the attempt broke off."""
    return functools.partial(_some_rungs, after, lambda job: JobEnded(end=kind, detail=detail))


def dies(after: int = 0, *, whole: bool = False, **how: object) -> Plays:
    """A part that ends its worker after some rungs, perhaps with a whole result on the disk."""
    end = Dies(**how)  # type: ignore[arg-type]
    return functools.partial(_some_rungs, RUNGS if whole else after, lambda _job: end, whole=whole)


def is_silent(after: int = 0) -> Plays:
    """A part of which nothing more is heard after some rungs."""

    def part(run: RunFolder, job: Job) -> Part:
        yield from reports(job, after)
        while True:
            yield None

    return part


def _some_rungs(
    after: int,
    end: Callable[[Job], Said_],
    run: RunFolder,
    job: Job,
    *,
    whole: bool = False,
) -> Part:
    yield from reports(job, after)
    if whole:
        write_result(run, job)
    yield end(job)


def saves_and_stops(rung: int) -> Plays:
    """A part that is interrupted after a rung of which it has a checkpoint."""

    def part(run: RunFolder, job: Job) -> Part:
        said = []
        for report in reports(job, rung):
            said.append(report)
            yield report
        make_checkpoint(run, job, said)
        yield JobEnded(end="interrupted", detail="told to stop")

    return part


def make_checkpoint(run: RunFolder, job: Job, said: Sequence[RungReport]) -> None:
    """What training saves after these rungs."""
    assert job.config is not None
    unfinished = folder(run, job) / UNFINISHED
    unfinished.mkdir()
    (unfinished / "weights.bin").write_text("x")
    last = said[-1]
    manifest = Checkpoint(
        rung=last.rung, optimizer_steps=last.optimizer_steps, config=job.config,
        setup=job.config.setup, data_fingerprint="d", reports=tuple(said),
    )  # fmt: skip
    seal(unfinished, manifest, checkpoint_folder(folder(run, job), last.rung))


def starts_anew(run: RunFolder, job: Job) -> Part:
    """A part whose checkpoint is of no use."""
    assert job.checkpoint is not None
    yield from does_well(run, job.model_copy(update={"checkpoint": None}))


def reports(job: Job, until: int = RUNGS) -> Iterator[RungReport]:
    """The rungs of an attempt: those after its checkpoint, if it has one."""
    if job.config is None or not until:
        return
    first = 1 + int(job.checkpoint.rpartition("-")[2]) if job.checkpoint else 1
    for rung in range(first, until + 1):
        yield RungReport(
            number=job.config.number, attempt=job.attempt, rung=rung,
            validation_loss=loss_at(job.config, rung), items=40, optimizer_steps=5 * rung,
            epochs=rung / 4, tokens=rung, training_seconds=rung, evaluation_seconds=0.0,
        )  # fmt: skip


def folder(run: RunFolder, job: Job) -> Path:
    return run.path / job.folder


def result_of(job: Job, state: str, rung: int = RUNGS, **fields: object) -> TrialResult:
    assert job.config is not None
    complete = state == "COMPLETE"
    known = {
        "number": job.config.number, "attempt": job.attempt, "seed": job.config.seed,
        "state": state, "validation_loss": loss_at(job.config, rung) if complete else None,
        "pruned_at_rung": None if complete else rung, "optimizer_steps": 5 * rung,
        "training_seconds": rung, "weights": "weights" if complete else None,
        "micro_batch": job.config.setup.micro_batch,
        "evaluation_batch": job.config.setup.evaluation_batch,
    }  # fmt: skip
    return TrialResult.model_validate({**known, **fields})


def write_result(run: RunFolder, job: Job, **fields: object) -> None:
    (folder(run, job) / attempts.WEIGHTS).mkdir()
    result_of(job, "COMPLETE", **fields).write(folder(run, job) / attempts.RESULT)


def write_score(run: RunFolder, job: Job) -> None:
    score = TestScore(
        name=job.name,
        trial=job.trial,
        test_loss=1.0,
        metrics={},
        items_sha256="",
        item_scores=(1.0,),
    )
    score.write(folder(run, job) / SCORE)


@dataclass
class Sweep:
    """Runs sweeps in this process: everything is real but the workers."""

    run: RunFolder
    pool: FakePool
    events: list[Event] = field(default_factory=list)

    def go(self, trials: int, plan: Plan | None = None, **search: object) -> RunOutcome:
        """The whole command, once."""
        self.events.clear()
        if not self.run.plan.is_file():
            plan = plan or make_plan(trials)
            budget = plan.budget.model_copy(update={"finalists": 1, "confirmation_seeds": 1})
            plan.model_copy(update={"budget": budget}).write(self.run.plan)
        return run_sweep(
            self.run,
            make_spec(trials, self.pool.size, **search),
            Plan.read(self.run.plan),
            backend="none:none",
            on_event=self._hear,
        )

    def _hear(self, event: Event, _status: Status) -> None:
        self.events.append(event)

    @property
    def stored(self) -> list[FrozenTrial]:
        """Trials of the study, as the run's files have them."""
        return trials_of(self.run)

    def said(self, kind: str) -> list[str]:
        return [event.text for event in self.events if event.kind == kind]

    def result(self, number: int) -> TrialResult:
        return TrialResult.read(self.run.trial(number) / attempts.RESULT)

    def ends(self, home: str) -> list[tuple[str, str]]:
        """Kind and detail of the end of each attempt without a result."""
        path = self.run.path / home
        found = [attempts.read_end(attempts.attempt_folder(path, n)) for n in self.made(home)]
        return [(end.kind, end.detail) for end in found if end is not None]

    def made(self, home: str) -> list[int]:
        return attempts.attempts_of(self.run.path / home)


def make_sweep(tmp_path: Path, patch: pytest.MonkeyPatch, size: int = 1) -> Sweep:
    """A sweep of one finalist and one seed, in a folder of its own."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    sweep = Sweep(run, FakePool(run, size))
    patch.setattr(coordinator, "pool_for", lambda *_: (sweep.pool, ""))
    return sweep
