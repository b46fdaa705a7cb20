"""The coordinating command: fills the queues and goes through the phases of a run.

It never trains, holds no torch, and may be killed at any moment: what it knows it reads back from
the storage and the run folder. Drawing and reports are the caller's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from optuna.exceptions import StorageInternalError

from sweeper.errors import NoTrialCompleted, RunError
from sweeper.execution import disk, repair, seal, sharing
from sweeper.execution.claims import Queue
from sweeper.execution.disk_budget import DiskBudget, disk_budget
from sweeper.execution.events import Event, now
from sweeper.execution.interruption import Signals
from sweeper.execution.jobqueue import JobQueue
from sweeper.execution.jobs import Job, confirm
from sweeper.execution.launch import workers_for
from sweeper.execution.ledger import Ledger
from sweeper.execution.loop import Loop, Stopped
from sweeper.execution.patience import Patience, StorageGone, patient
from sweeper.execution.progress import Progress
from sweeper.execution.repair import readable
from sweeper.execution.search_end import SearchEnd
from sweeper.execution.slots import top_up, useful_total
from sweeper.execution.status import Phase, Status
from sweeper.planning.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.search import ending, warm_start
from sweeper.search.storage import default_url, open_storage
from sweeper.search.study import (
    BACKEND,
    CLOSED,
    IDENTITY,
    OPEN,
    PHASE,
    RUN,
    SPEC,
    TOTAL,
    create_study,
    jobs_name,
)
from sweeper.spec import Spec
from sweeper.trials import TestSeal

# What may go wrong once more while a run that failed is put down.
_LOST_CAUSES = (disk.NoRoom, OSError, StorageInternalError, StorageGone, Stopped)

DEFAULT_BACKEND = "sweeper.training.backend:make"

OutcomeKind = Literal["complete", "interrupted", "timeout", "none-completed"]


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    ``none-completed``: all trials ended and none of them completed. ``signal`` is the one that
    interrupted the run.
    """

    kind: OutcomeKind
    status: Status
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """What the command should exit with."""
        if self.signal is not None:
            return 128 + self.signal
        return NoTrialCompleted.exit_code if self.kind == "none-completed" else 0


def run_sweep(
    run: RunFolder,
    spec: Spec,
    plan: Plan,
    *,
    backend: str = DEFAULT_BACKEND,
    on_event: Callable[[Event, Status], None] = lambda _event, _status: None,
    on_trial_end: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run or resume a sweep to its end.

    Args:
        run: The folder; the caller holds its lock and has checked the identity.
        spec: What was asked; ``search.trials`` is the study's total.
        plan: The frozen plan.
        backend: ``module:function`` of the training backend.
        on_event: Called with each event and the status after it.
        on_trial_end: Called after trials have ended, and once more at the end: time to rewrite
            findings and report.

    Raises:
        RunError: The storage cannot be used, or workers cannot work.
        NoTrialCompleted: Workers cannot work, and no trial had completed before.
    """
    if not repair.copy_of(run.plan).is_file() or not run.plan.is_file():
        repair.write_twice(plan, run.plan)
    repair.cut_half_line(run.events)
    url = spec.search.storage or default_url(run.study)
    patience = Patience()
    storage = patient(open_storage(url), patience)
    name = run.path.resolve().name
    ledger = Ledger(run, limit_points=spec.aim.max_forgetting_points)
    with Signals() as signals:
        patience.hurried = lambda: signals.count > 0
        pool, fewer = workers_for(run, spec, plan, url, backend)
        trials, jobs = (create_study(storage, each) for each in (name, jobs_name(name)))
        loop = Loop(
            run=run,
            queue=Queue(storage, trials, patience),
            jobs=JobQueue(run, Queue(storage, jobs, patience)),
            pool=pool,
            ledger=ledger,
            progress=_progress(run, ledger, spec, plan),
            signals=signals,
            on_event=on_event,
            on_trial_end=on_trial_end,
            finalists=plan.budget.finalists,
            deadline=time.monotonic() + (spec.search.timeout_seconds or float("inf")),
        )
        patience.say = lambda text: loop.say("warning", text=text)
        if fewer:
            loop.warn(fewer)
        return Coordinator(run, spec, plan, loop).run_all()


def _progress(run: RunFolder, ledger: Ledger, spec: Spec, plan: Plan) -> Progress:
    earlier = readable(Status, run.status)
    return Progress(
        ledger,
        useful_total(plan, spec.search.trials),
        started_at=earlier.started_at if earlier else now(),
        earlier_seconds=earlier.seconds if earlier else 0.0,
        workers=spec.search.workers,
        plan=plan,
    )


@dataclass
class Coordinator:
    """One call of ``run_sweep``: the phases."""

    run: RunFolder
    spec: Spec
    plan: Plan
    loop: Loop

    @property
    def total(self) -> int:
        """The study's total."""
        return self.loop.progress.total

    @property
    def _disk(self) -> DiskBudget:
        return disk_budget(self.plan, self.spec.search.workers)

    def run_all(self) -> Outcome:
        """All phases, one after the other; whatever ends them, nothing is left running."""
        try:
            return self._phases()
        except StorageGone:
            self._fail()
            if not self.loop.signals.count:
                raise
            status = self.loop.progress.status(ended=True)
            return Outcome("interrupted", status, self.loop.signals.number)
        except (disk.NoRoom, OSError, StorageInternalError) as error:
            self._fail()
            if not disk.no_room(error):
                raise
            raise disk.full(self.run.path, self._disk.least) from error
        except BaseException:
            self._fail()
            raise

    def _phases(self) -> Outcome:
        try:
            self._prepare()
            self._search()
            if self.loop.ledger.best() is None:
                return self._end("none-completed", "failed")
            self._confirm_and_test()
        except Stopped:
            self.loop.stop_workers()
            if self.loop.signals.count:
                return self._end("interrupted", "interrupted")
            return self._end("timeout", "timeout")
        return self._end("complete", "complete")

    def _fail(self) -> None:
        """Leave the run as well as can be: nothing runs, and the storage may be away or full."""
        with contextlib.suppress(*_LOST_CAUSES):
            self.loop.stop_workers()
        self.loop.pool.kill()
        with contextlib.suppress(*_LOST_CAUSES):
            self._close()
        with contextlib.suppress(*_LOST_CAUSES):
            self.loop.set_phase("failed")

    def _prepare(self) -> None:
        study = self.loop.queue.study
        self._claim_study()
        self.loop.progress.total = max(self.total, ending.begun(self.loop.queue.trials()))
        study.set_user_attr(RUN, str(self.run.path.resolve()))
        study.set_user_attr(SPEC, self.spec.to_json())
        sharing.publish(self.run, study)
        study.set_user_attr(BACKEND, self.loop.pool.backend)
        ending.reopen(study, self.spec.search)
        if ending.ending_of(study) is None:
            study.set_user_attr(TOTAL, self.total)
        self.loop.recover(crashed=False)
        top_up(self.loop.queue, self.plan, self.total)
        ending.look(study, self.plan)
        study.set_user_attr(PHASE, OPEN)
        self.loop.look()
        done = self.loop.ledger.finished(self.total)
        need = self._disk.sentence(self.run.path)
        self.loop.say("run-started", text=f"{done} of {self.total} trials have ended; {need}")
        for text in warm_start.first_lines(self.plan, asked=self.spec.search.warm_start):
            self.loop.say("warm-start", text=text)
        self._note_total()

    def _claim_study(self) -> None:
        # The storage may be shared: a study of the same name must be this run's.
        study = self.loop.queue.study
        identity = self.plan.identity.model_dump() if self.plan.identity else {}
        stored = study.user_attrs.get(IDENTITY)
        if stored is None:
            study.set_user_attr(IDENTITY, identity)
        elif stored != identity:
            raise RunError(
                f"the storage holds another study named {study.study_name!r}",
                why="Its model, data or space differ from this run's.",
                fix="Choose another --name or another --storage.",
            )

    def _note_total(self) -> None:
        if self.total < self.spec.search.trials:
            self.loop.warn(
                f"{self.total} trials instead of {self.spec.search.trials}: every configuration "
                "of the space will have run by then"
            )
        if self.total > self.spec.search.trials:
            self.loop.warn(
                f"{self.total} trials have been begun already, and none of them is taken back: "
                f"the study stays at {self.total}, not {self.spec.search.trials}"
            )

    def _search(self) -> None:
        loop, baselines = self.loop, Job("baselines", "baselines")
        for name in repair.damaged_baselines(self.run):
            loop.warn(f"baselines/{name}.json was damaged, and is made again")
        if not loop.jobs.is_kept(baselines) or loop.jobs.open():
            loop.jobs.ensure([baselines])
        loop.set_phase("baselines" if loop.jobs.open() else "search")
        is_over = SearchEnd(loop, self.plan, self.spec.search)
        loop.until(lambda: is_over() and not loop.jobs.open())
        if not repair.baselines(self.run):
            loop.warn("there are no baselines to compare with: scoring them failed")
        for name in repair.damaged_baselines(self.run):
            loop.warn(f"baselines/{name}.json is damaged, and no model of that name was scored")

    def _confirm_and_test(self) -> None:
        loop = self.loop
        if not self.run.test_seal.exists():
            loop.set_phase("confirmation")
            finalists = loop.ledger.finalists(self.plan.budget.finalists)
            seeds = seal.seeds_of(self.plan)
            loop.jobs.ensure([confirm(number, seed) for number in finalists for seed in seeds])
            loop.until(lambda: not loop.jobs.open())
            limit = loop.ledger.limit_points
            seal.open_seal(self.run, self.plan, finalists, limit)
        opened = seal.open_seal(self.run, self.plan, ())
        if opened.complete:
            seal.fill_baselines(self.run, opened)
            self._note_late_trials(opened)
            return
        loop.set_phase("test")
        jobs = seal.scoring_jobs(self.run, self.plan, opened, loop.ledger)
        loop.jobs.ensure(jobs)
        loop.until(lambda: not loop.jobs.open())
        seal.close_seal(self.run, opened, jobs)
        seal.drop_seed_weights(self.run, self.plan, opened)

    def _note_late_trials(self, opened: TestSeal) -> None:
        if set(self.loop.ledger.finalists(self.plan.budget.finalists)) - set(opened.order):
            self.loop.warn(
                f"the test split was opened once, at {opened.opened_at}, and stays closed: trials "
                "that came after are compared on validation only"
            )

    def _end(self, kind: OutcomeKind, phase: Phase) -> Outcome:
        self._close()
        status = self.loop.end(kind, phase)
        return Outcome(kind, status, self.loop.signals.number)

    def _close(self) -> None:
        self.loop.queue.study.set_user_attr(PHASE, CLOSED)
        self.loop.dismiss_workers()
