"""Finds running trials whose holder is gone: by the process here, by the lease elsewhere.

Clocks are never compared: a lease is dead when its beat has stood still for long enough on the
watcher's own monotonic clock, which is the same on every storage and through clock changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.claims import Lease, lease_of
from sweeper.execution.owner import is_alive, is_local

# Twelve missed heartbeats: longer than a storage may be away (a minute), shorter than a trial.
LEASE_SECONDS = 120.0
# A worker that won a trial signs it within one more transaction.
UNSIGNED_SECONDS = 5.0


@dataclass
class Watch:
    """Remembers since when each lease has stood still."""

    clock: Callable[[], float] = time.monotonic
    lease_seconds: float = LEASE_SECONDS
    unsigned_seconds: float = UNSIGNED_SECONDS
    _seen: dict[int, tuple[Lease, float]] = field(default_factory=dict)

    def dead(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The running trials whose holder is gone."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        known = {trial._trial_id for trial in running}
        self._seen = {key: seen for key, seen in self._seen.items() if key in known}
        return [trial for trial in running if self._is_dead(trial)]

    def _is_dead(self, trial: FrozenTrial) -> bool:
        lease, now = lease_of(trial), self.clock()
        before, since = self._seen.get(trial._trial_id, (None, now))
        if before != lease:
            since = now
        self._seen[trial._trial_id] = (lease, since)
        if not lease.owner:
            return now - since > self.unsigned_seconds
        if is_local(lease.owner):
            return not is_alive(lease.owner)
        return now - since > self.lease_seconds
