"""From events and the ledger to ``status.json``: who runs what, how far, how long still.

Knows nothing about how anything is run.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from dataclasses import dataclass, field

from optuna.trial import TrialState

from sweeper.execution.events import Event, now
from sweeper.execution.ledger import Ledger
from sweeper.execution.remaining import pace, remaining
from sweeper.execution.status import Eta, Phase, Running, Status
from sweeper.planning.plan import Plan
from sweeper.search.optuna_space import STRATEGY

_WORKER_FREED = ("trial-ended", "trial-put-back", "job-ended", "job-put-back", "worker-ended")


@dataclass
class Progress:
    """Keeps what a status is made of."""

    ledger: Ledger
    total: int
    started_at: str
    earlier_seconds: float = 0.0
    workers: int = 1
    plan: Plan | None = None
    phase: Phase = "baselines"
    message: str = ""
    search_ended: str = ""
    jobs: int = 0
    jobs_done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)
    _worked: bool = False

    def hear(self, event: Event) -> None:
        """Take an event into account."""
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
        elif event.kind == "rung" and event.worker in self.running:
            self._rung(event)
        elif (
            event.kind in ("trial-ended", "trial-put-back", "job-ended", "job-put-back")
            or event.kind == "worker-ended"
        ):
            self.running.pop(event.worker, None)

    def _rung(self, event: Event) -> None:
        fields = {
            "rung": event.rung,
            "rungs": event.rungs,
            "optimizer_steps": event.optimizer_steps,
            "validation_loss": event.validation_loss,
            "strategy": event.strategy,
            "median_here": self._median(event),
        }
        self.running[event.worker] = self.running[event.worker].model_copy(update=fields)

    def _median(self, event: Event) -> float | None:
        # Where several base models compete, the event does not say which one it is of.
        own = [t.params.get(STRATEGY) for t in self.ledger.trials if t.number == event.trial]
        same = own[0] if own and own[0] else event.strategy
        losses = [
            trial.intermediate_values[event.rung]
            for trial in self.ledger.trials
            if trial.number != event.trial
            and event.rung in trial.intermediate_values
            and trial.params.get(STRATEGY) == same
        ]
        losses = [loss for loss in losses if math.isfinite(loss)]
        return statistics.median(losses) if losses else None

    def status(self, *, ended: bool = False) -> Status:
        """The run at this moment."""
        ended_in = dict.fromkeys(("COMPLETE", "PRUNED", "FAIL"), 0)
        out_of_memory = 0
        for result in self.ledger.results.values():
            ended_in[result.state] += 1
            failure = result.failure
            out_of_memory += failure is not None and failure.kind == "out-of-memory"
        waiting = [t for t in self.ledger.in_state(TrialState.WAITING) if t.number < self.total]
        if self.search_ended:
            waiting = []
        return Status(
            phase=self.phase,
            trials=self.total,
            complete=ended_in["COMPLETE"],
            pruned=ended_in["PRUNED"],
            failed=ended_in["FAIL"],
            out_of_memory=out_of_memory,
            waiting=len(waiting),
            running=() if ended else tuple(self.running.values()),
            best=self.ledger.best(),
            default=self.ledger.best(self.ledger.defaults()),
            jobs=self.jobs,
            jobs_done=self.jobs_done,
            eta=None if ended else self._eta(len(waiting)),
            started_at=self.started_at,
            updated_at=now(),
            ended_at=now() if ended else "",
            seconds=self._seconds(ended),
            process=None if ended else os.getpid(),
            message=self.message,
            search_ended=self.search_ended,
        )

    def _seconds(self, ended: bool) -> float:
        # A call that found nothing to do does not make a finished run longer.
        idle = ended and self.earlier_seconds and not self._worked
        own = 0.0 if idle else time.monotonic() - self._begun
        return round(self.earlier_seconds + own, 3)

    def _eta(self, waiting: int) -> Eta | None:
        if self.plan is None:
            return None
        return remaining(
            self.plan,
            pace(self.plan, self.ledger.results, self.ledger.configs),
            phase=self.phase,
            trials_left=waiting + len(self.running) / 2,
            jobs_left=self.jobs - self.jobs_done,
            workers=self.workers,
        )
