"""From events and the run's state to ``status.json``: work, progress, remaining time."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sweeper.execution.remaining import Pace, Took, curve_seconds, offered_curve, pace, remaining
from sweeper.execution.state.events import Event, now
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Eta, Phase, Running, Status
from sweeper.execution.state.work_items import WorkItem
from sweeper.plans import Plan
from sweeper.search.outlook import NEXT, Outlook, outlook
from sweeper.search.starts import useful_total
from sweeper.search.study_end import Ending
from sweeper.trials import TrialResult, within_limit

_HOST = socket.gethostname()
_FREED = ("trial-ended", "trial-put-back", "job-ended", "job-put-back", "worker-ended")


@dataclass
class RunProgress:
    """The data from which a status is made."""

    state: RunState
    plan: Plan
    total: int
    started_at: str
    earlier_seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    workers: int = 1
    phase: Phase = "baselines"
    message: str = ""
    search_ended: str = ""
    curve_told: str = ""
    ending: Ending | None = None
    jobs: int = 0
    jobs_done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)
    _entered: float = field(default_factory=time.monotonic)
    _worked: bool = False
    _beat: int = 0
    _pace: Pace | None = None
    _took: dict[int, Took | None] = field(default_factory=dict)
    _paced: int = -1
    _again: float = 0.0
    _outlook: Outlook | None = None

    def enter(self, phase: Phase) -> None:
        """Go on to a phase; the seconds since the last call belong to the one before."""
        clock = time.monotonic()
        took = self.phases.get(self.phase, 0.0) + clock - self._entered
        self.phases[self.phase] = round(took, 3)
        self.phase, self._entered = phase, clock

    def hear(self, event: Event, median: float | None = None) -> None:
        """Take an event into account.

        Args:
            median: For a rung, the median loss of the candidate's other trials there.
        """
        if event.kind in ("trial-started", "job-started"):
            self._worked = True
            self.running[event.worker] = Running(
                worker=event.worker,
                job=event.job,
                trial=event.trial,
                attempt=event.attempt or 1,
                strategy=event.strategy,
                parameters=event.parameters,
                rungs=event.rungs or 0,
                since=event.at,
            )
        elif event.kind in _FREED:
            self.running.pop(event.worker, None)
        elif event.worker in self.running and event.kind == "rung":
            self._update(
                event.worker,
                rung=event.rung,
                rungs=event.rungs,
                optimizer_steps=event.optimizer_steps,
                validation_loss=event.validation_loss,
                objective=event.objective,
                strategy=event.strategy,
                median_here=median,
                doing="",
            )
        elif event.worker in self.running and event.kind == "progress":
            self._update(event.worker, doing=event.text, done=event.done, of=event.of)

    def _update(self, worker: str, **fields: object) -> None:
        self.running[worker] = self.running[worker].model_copy(update=fields)

    @property
    def waiting(self) -> int:
        """Trials that wait for a worker."""
        if self.ending is not None:
            return 0
        running = sum(not one.job for one in self.running.values())
        return max(0, self.total - len(self.state.results) - running)

    def status(self, *, ended: bool = False) -> Status:
        """The run at this moment."""
        self._beat += 1
        counts = self.state.ended_in
        self._look_at_trials()
        return Status(
            phase=self.phase,
            objective=self.plan.objective,
            trials=self.total,
            complete=counts["COMPLETE"],
            pruned=counts["PRUNED"],
            failed=counts["FAIL"],
            out_of_memory=self.state.out_of_memory,
            waiting=self.waiting,
            running=() if ended else tuple(self.running.values()),
            best=self.state.best,
            default=self.state.best_default,
            jobs=self.jobs,
            jobs_done=self.jobs_done,
            eta=None if ended else self._eta(),
            outlook=self._outlook,
            started_at=self.started_at,
            updated_at=now(),
            ended_at=now() if ended else "",
            seconds=self._seconds(ended=ended),
            phases=dict(self.phases),
            process=None if ended else os.getpid(),
            host=_HOST,
            beat=self._beat,
            message=self.message,
            search_ended=self.search_ended,
            curve_told=self.curve_told,
            ending=self.ending,
        )

    def curve_fits(self, work: Iterable[WorkItem], deadline: float) -> bool:
        """Whether a data curve that was not asked for is made; ``curve_told`` says why.

        Args:
            work: Its trainings.
            deadline: When the call must stop, on the monotonic clock.
        """
        budget, state = self.plan.budget, self.state
        left = {"until the time limit": deadline - time.monotonic()}
        if budget.limit_seconds is not None:
            suite = budget.suite.seconds if budget.suite is not None else 0.0
            used = self._seconds(ended=False) + suite
            left["of the budget"] = budget.limit_seconds - used
        rows = self.plan.facts.data.train_rows
        most = curve_seconds(work, state.results, state.configs, rows, self.workers)
        fits, self.curve_told = offered_curve(budget, most, left)
        return fits

    def _seconds(self, *, ended: bool) -> float:
        # A call that found nothing to do does not make a finished run longer.
        idle = ended and self.earlier_seconds and not self._worked
        own = 0.0 if idle else time.monotonic() - self._begun
        return round(self.earlier_seconds + own, 3)

    def _look_at_trials(self) -> None:
        """Work out pace and outlook, once for each trial that has ended."""
        if self._paced == len(self.state.results):
            return
        self._paced = len(self.state.results)
        self._pace = pace(self.plan, self.state.results, self.state.configs, self._took)
        if self._pace is not None:
            self._again = self._seconds_of_best()
        if not self.plan.objective.is_loss:
            return  # what chance makes of two trials was recorded for losses
        if useful_total(self.plan, self.total + NEXT) < self.total + NEXT:
            return  # nothing is left to search
        took = [one.seconds for one in self._took.values() if one is not None]
        results = [self.state.results[number] for number in sorted(self.state.results)]
        self._outlook = outlook([self._final(one) for one in results], took, self.workers)

    def _final(self, result: TrialResult) -> float | None:
        """The final loss of a completed trial within the limit on forgetting."""
        kept = within_limit(result.forgetting_points, self.state.max_forgetting_points)
        done = kept and result.state == "COMPLETE"
        return self.plan.objective.cost_of(result) if done else None

    def _eta(self) -> Eta | None:
        return remaining(
            self.plan,
            self._pace,
            phase=self.phase,
            trials_left=self.waiting + len(self.running) / 2,
            jobs_left=self.jobs - self.jobs_done,
            workers=self.workers,
            again=self._again,
        )

    def _seconds_of_best(self) -> float:
        """Mean seconds of the trials that would be confirmed now."""
        best = self.state.finalists(self.plan.budget.finalists)
        took = [
            one.training_seconds + one.evaluation_seconds + one.setup_seconds
            for one in (self.state.results[number] for number in best)
        ]
        return statistics.fmean(took) if took else 0.0
