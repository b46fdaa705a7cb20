"""Who holds a trial, as it is written on the trial: one record for each change of hands.

Nobody writes over another's record, and the latest one counts. Whoever was stopped in the middle
of a change and goes on after the trial has changed hands again writes a record that is no longer
the latest, and changes nothing by it. Knows attributes; moves no trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

# Records are named "sweeper:lease:GENERATION:OWNER", the latter empty where the trial was freed.
LEASE = "sweeper:lease"


@dataclass(frozen=True)
class Lease:
    """Who holds a trial.

    ``attempt`` grows by one with each claim and is what a report must carry to be taken;
    ``beat`` grows while the holder lives. Nobody compares clocks: whoever watches a lease
    measures with its own how long the beat has stood still.
    """

    owner: str = ""
    attempt: int = 0
    crashes: int = 0
    beat: int = 0


@dataclass(frozen=True)
class Held:
    """A lease with its place in the order of changes.

    A claim follows only upon a record that frees the trial, and only the one claim that the
    storage lets move the trial out of waiting. Two records of one generation are therefore a
    change and the freeing of a trial whose change nobody had seen: the latter counts.
    """

    generation: int = 0
    lease: Lease = Lease()

    @property
    def _place(self) -> tuple[int, bool, str]:
        return self.generation, not self.lease.owner, self.lease.owner

    def write(self, storage: BaseStorage, trial_id: int) -> None:
        """Leave the record on its trial.

        Raises:
            UpdateFinishedTrialError: The trial has ended.
        """
        name = f"{LEASE}:{self.generation}:{self.lease.owner}"
        storage.set_trial_system_attr(trial_id, name, asdict(self.lease))

    def is_same(self, other: Held) -> bool:
        """Whether both are one record, whatever beats have come since."""
        return self._place == other._place


def latest(trial: FrozenTrial) -> Held:
    """The latest record of a trial; that of nobody where it was never claimed."""
    records = [_read(name, stored) for name, stored in trial.system_attrs.items() if _is(name)]
    return max(records, key=lambda record: record._place, default=Held())


def lease_of(trial: FrozenTrial) -> Lease:
    """The lease of a trial; that of nobody where it was never claimed."""
    return latest(trial).lease


def _is(name: str) -> bool:
    return name == LEASE or name.startswith(LEASE + ":")


def _read(name: str, stored: Mapping[str, Any]) -> Held:
    generation = name.removeprefix(LEASE).lstrip(":").partition(":")[0]
    return Held(int(generation or 0), Lease(**stored))
