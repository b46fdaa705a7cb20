"""Finds running trials whose holder is gone: by the process here, by its launcher's word or by
the lease elsewhere.

Clocks are never compared: a lease is dead when its beat has stood still for long enough on the
watcher's own monotonic clock, which is the same on every storage and through clock changes. Time
in which the watcher itself did not look (it was stopped, or its storage was away) counts little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from sweeper.execution.claims import Lease, lease_of
from sweeper.execution.owner import is_alive, is_local

# Twelve missed heartbeats: longer than a storage may be away (a minute), shorter than a trial.
LEASE_SECONDS = float(os.environ.get("SWEEPER_LEASE_SECONDS", "120"))
# A worker that won a trial signs it within one more transaction.
UNSIGNED_SECONDS = 5.0
# Looks are half a second apart while all is well.
_LONGEST_GAP_SECONDS = 3.0


@dataclass
class Watch:
    """Remembers for how long each lease has stood still.

    ``children`` names the processes whose end this command will hear of: until then nobody knows
    whether they crashed, or why.
    """

    clock: Callable[[], float] = time.monotonic
    lease_seconds: float = LEASE_SECONDS
    unsigned_seconds: float = UNSIGNED_SECONDS
    longest_gap: float = _LONGEST_GAP_SECONDS
    children: Callable[[], Collection[str]] = tuple
    _seen: dict[int, tuple[Lease, float]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _looked: float | None = None

    def dead(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The running trials whose holder is gone."""
        return [trial for trial in self._look(trials) if self._is_dead(lease_of(trial), trial)]

    def end(self, owner: str) -> None:
        """Take note that a process has ended, on whatever machine: nobody waits for its lease.

        Should it only be out of reach and go on, then what it reports is refused.
        """
        if owner:
            self._gone.add(owner)

    def silent(self) -> list[str]:
        """Processes of this machine that live, hold a trial and have shown no heartbeat for long.

        They are as good as dead, and are to be ended. As of the last look.
        """
        held = [lease for lease, still in self._seen.values() if still > self.lease_seconds]
        return [one.owner for one in held if one.owner and is_local(one.owner)]

    def _look(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        now = self.clock()
        passed = min(now - (self._looked if self._looked is not None else now), self.longest_gap)
        self._looked = now
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self._seen = {trial._trial_id: self._stood(trial, passed) for trial in running}
        return running

    def _stood(self, trial: FrozenTrial, passed: float) -> tuple[Lease, float]:
        """A lease, and for how long it has stood still."""
        lease = lease_of(trial)
        before, still = self._seen.get(trial._trial_id, (None, 0.0))
        return lease, still + passed if before == lease else 0.0

    def _is_dead(self, lease: Lease, trial: FrozenTrial) -> bool:
        still = self._seen[trial._trial_id][1]
        if not lease.owner:
            return still > self.unsigned_seconds
        if lease.owner in self._gone:
            return True
        if is_local(lease.owner):
            return not is_alive(lease.owner) and lease.owner not in self.children()
        return still > self.lease_seconds
