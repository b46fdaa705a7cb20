"""Who works on what: claiming by compare-and-set, leases, putting back, finishing. One for all.

Trials and jobs are both Optuna trials that wait; this module moves them between WAITING, RUNNING
and their end so that two workers never both do so. Knows nothing about training or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.lease import LEASE as LEASE
from sweeper.execution.lease import Held, latest
from sweeper.execution.lease import Lease as Lease
from sweeper.execution.lease import lease_of as lease_of
from sweeper.execution.patience import Patience, patiently
from sweeper.search.storage import Storage


@dataclass
class Queue:
    """One Optuna study as a queue of work."""

    storage: Storage
    study: optuna.Study
    patience: Patience = field(default_factory=Patience)

    @property
    def study_id(self) -> int:
        return self.study._study_id

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in these states (all without any), by number. Not copied: do not change them."""
        return self.storage.optuna.get_all_trials(
            self.study_id, deepcopy=False, states=states or None
        )

    def trial(self, number: int) -> FrozenTrial:
        """One trial as the storage has it now."""
        return self.storage.optuna.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        return self.storage.optuna.get_trial_id_from_study_id_trial_number(self.study_id, number)

    def add(self, fixed: Mapping[str, Any] | None, user_attrs: Mapping[str, Any]) -> None:
        """Add one waiting trial, with fixed parameters or none."""
        self.study.enqueue_trial(dict(fixed or {}), user_attrs=dict(user_attrs))

    def claim(self, owner: str, below: int | None = None) -> Claim | None:
        """Take the first trial that waits.

        Args:
            owner: Who claims.
            below: Trials with this number or a higher one are left alone.
        """
        tries = 0

        def take() -> Claim | None:
            nonlocal tries
            tries += 1
            known = self._claimed_unheard(owner) if tries > 1 else None
            return known or self._first_waiting(owner, below)

        return self.patience.call(take)

    def _claimed_unheard(self, owner: str) -> Claim | None:
        # A claim whose answer was lost with the connection: the trial is this caller's already.
        for trial in self.trials(TrialState.RUNNING):
            if lease_of(trial).owner == owner:
                return Claim(self, trial._trial_id, trial.number, latest(trial))
        return None

    def _first_waiting(self, owner: str, below: int | None) -> Claim | None:
        for trial in self.trials(TrialState.WAITING):
            if below is not None and trial.number >= below:
                continue
            claim = self._take(trial, owner)
            if claim is not None:
                return claim
        return None

    def _take(self, trial: FrozenTrial, owner: str) -> Claim | None:
        backend = self.storage.optuna
        with self.storage.exclusive(trial._trial_id, wait=False) as alone:
            if not alone:
                return None
            try:
                if not backend.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return None
            except UpdateFinishedTrialError:
                return None
            before = latest(backend.get_trial(trial._trial_id))
            if before.lease.owner:
                # One who was stopped while it put the trial back wrote so only now, and another
                # holds it already: it runs, as it says again.
                return None
            lease = replace(before.lease, owner=owner, attempt=before.lease.attempt + 1, beat=0)
            record = Held(before.generation + 1, lease)
            record.write(backend, trial._trial_id)
            claim = Claim(self, trial._trial_id, trial.number, record)
            # Stopped before it signed, a claim may have been taken back.
            return claim if claim.held() else None

    @patiently
    def take_back(
        self,
        trial: FrozenTrial,
        *,
        crashed: bool,
        user_attrs: Mapping[str, Any] | None = None,
    ) -> bool:
        """Put a running trial back whose holder is gone. Its parameters stay.

        Args:
            trial: As it was when its holder was found to be gone.
            crashed: Whether that counts.
            user_attrs: To be left on it for whoever claims it next.

        Returns:
            False, and nothing is written, if the trial has moved since.
        """
        freed = _freed(latest(trial), crashed)
        with self.storage.exclusive(trial._trial_id):
            if not self.is_as_seen(trial):
                return False
            for name, value in (user_attrs or {}).items():
                self.storage.optuna.set_trial_user_attr(trial._trial_id, name, value)
            return self._put_back(trial._trial_id, freed)

    def is_as_seen(self, trial: FrozenTrial) -> bool:
        """Whether a running trial still has the holder and the beat that it was seen with."""
        stored = self.storage.optuna.get_trial(trial._trial_id)
        return stored.state == TrialState.RUNNING and latest(stored) == latest(trial)

    def _put_back(self, trial_id: int, freed: Held) -> bool:
        # The lease first: a caller that dies in between leaves a running trial of nobody, which
        # the next look at the queue puts back without counting the crash twice.
        backend = self.storage.optuna
        try:
            freed.write(backend, trial_id)
            if not latest(backend.get_trial(trial_id)).is_same(freed):
                return False
            backend.set_trial_state_values(trial_id, TrialState.WAITING)
        except UpdateFinishedTrialError:
            return False
        return True

    def finish(self, trial_id: int, state: TrialState, value: float | None) -> bool:
        """End a trial for good. False if it had ended before."""
        values = None if value is None else [value]
        try:
            return self.storage.optuna.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return False


def _freed(record: Held, crashed: bool) -> Held:
    lease = record.lease
    return Held(record.generation + 1, replace(lease, owner="", crashes=lease.crashes + crashed))


@dataclass
class Claim:
    """A trial that this process holds."""

    queue: Queue
    trial_id: int
    number: int
    record: Held
    _lost: bool = field(default=False, init=False)
    _told: bool = field(default=False, init=False)

    @property
    def patience(self) -> Patience:
        """That of the queue."""
        return self.queue.patience

    @property
    def lease(self) -> Lease:
        """As it was written last."""
        return self.record.lease

    def held(self) -> bool:
        """Whether it is still this process's: nobody took it back or ended it."""
        if not self._lost:
            trial = self.queue.storage.optuna.get_trial(self.trial_id)
            self._lost = trial.state.is_finished() or not latest(trial).is_same(self.record)
        return not self._lost

    @patiently
    def renew(self) -> bool:
        """Show that the holder lives. False, and nothing written, if the trial was lost."""
        with self.queue.storage.exclusive(self.trial_id):
            if not self.held():
                return False
            lease = replace(self.lease, beat=self.lease.beat + 1)
            self.record = replace(self.record, lease=lease)
            try:
                self.record.write(self.queue.storage.optuna, self.trial_id)
            except UpdateFinishedTrialError:
                self._lost = True
        return not self._lost

    @patiently
    def put_back(self, *, crashed: bool) -> bool:
        """Give it back to the queue. False if it was lost before."""
        with self.queue.storage.exclusive(self.trial_id):
            if not self.held():
                return False
            done = self.queue._put_back(self.trial_id, _freed(self.record, crashed))
            self._lost = True
        return done

    @patiently
    def finish(self, state: TrialState, value: float | None) -> bool:
        """End it. False, and nothing written, if it was lost: a stale report is refused."""
        with self.queue.storage.exclusive(self.trial_id):
            if not self.held():
                return self._ended_unheard(state, value)
            ended = self.queue.finish(self.trial_id, state, value)
            self._told = self._lost = True
        return ended

    def _ended_unheard(self, state: TrialState, value: float | None) -> bool:
        # An end whose answer was lost with the connection is this caller's own.
        stored = self.queue.storage.optuna.get_trial(self.trial_id)
        mine = latest(stored).is_same(self.record)
        unheard = not self._told and mine and (stored.state, stored.value) == (state, value)
        self._told |= unheard
        return unheard
