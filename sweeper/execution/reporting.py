"""Answers a trial's reports: keeps the curve, renews the lease, asks the pruner.

Knows nothing about how the trial trains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import FrozenTrial

from sweeper.backend import Decision
from sweeper.execution import records
from sweeper.execution.claims import Claim
from sweeper.execution.patience import StorageGone
from sweeper.search.observations import attribute
from sweeper.search.pruner import judge
from sweeper.trials import RungReport


@dataclass
class Reporter:
    """What a backend calls at each rung.

    Args:
        claim: The trial, or the job of a confirmation run.
        target: The folder whose curve this is.
        attempt: The attempt's own folder.
        should_stop: Whether the worker was told to stop.
        heard: Called with each report that was taken.
        prunes: False for confirmation runs, which always run to their end.
    """

    claim: Claim
    target: Path
    attempt: Path
    should_stop: Callable[[], bool]
    heard: Callable[[RungReport], None]
    prunes: bool = True
    superseded: bool = field(default=False, init=False)
    gone: StorageGone | None = field(default=None, init=False)
    because: str = field(default="", init=False)
    losses: dict[int, float] = field(default_factory=dict, init=False)

    def __call__(self, report: RungReport) -> Decision:
        """Answer one report; ``gone`` says why where the storage did not take it."""
        try:
            return self._take(report)
        except StorageGone as error:
            self.gone = error
            return Decision.STOP

    def _take(self, report: RungReport) -> Decision:
        if not self.claim.renew():
            self.superseded = True
            return Decision.STOP
        records.add_rung(self.target, self.attempt, report)
        self.losses[report.rung] = report.validation_loss
        if self.prunes:
            self._publish(report)
        self.heard(report)
        if self.should_stop():
            return Decision.STOP
        return self._decide()

    def _publish(self, report: RungReport) -> None:
        optuna, trial = self.claim.queue.storage.optuna, self.claim.trial_id
        if report.first_items is not None:
            optuna.set_trial_user_attr(trial, *attribute(report.rung, report.first_items))
        optuna.set_trial_intermediate_value(trial, report.rung, report.validation_loss)

    def _decide(self) -> Decision:
        if not self.prunes:
            return Decision.CONTINUE
        judgement = judge(self.claim.queue.study, self._as_reported())
        if not judgement.prune:
            return Decision.CONTINUE
        self.because = judgement.because
        return Decision.PRUNE

    def _as_reported(self) -> FrozenTrial:
        # An earlier attempt may have come further; its later rungs are not this one's.
        stored = self.claim.queue.storage.optuna.get_trial(self.claim.trial_id)
        trial = copy.copy(stored)
        trial.intermediate_values = dict(self.losses)
        return trial
