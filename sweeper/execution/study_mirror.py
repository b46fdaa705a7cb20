"""Keeps an Optuna storage in step with the search, for dashboards, plain Optuna and the next call.

The search lives in memory and the run's files are what counts, so the storage is written behind
both, by a thread of its own: a storage that is slow or away keeps nobody waiting. It is tried
again for up to ``SWEEPER_STORAGE_PATIENCE`` seconds, said in one line, given up in the end.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError
from sweeper.execution.disk import NoRoom, no_room
from sweeper.execution.storages import (
    first_line,
    is_damaged,
    open_storage,
    passes,
    without_password,
)

# A storage that is restarted or fails over is back within a minute or two; one that has been away
# for five needs a person.
PATIENCE_SECONDS = float(os.environ.get("SWEEPER_STORAGE_PATIENCE", "300"))
# Told to stop, the command has ten seconds to its last line: these are for one more try.
HURRIED_SECONDS = 2.0
# How far writes are apart while the owner has work: both run under one interpreter lock.
_BUSY_SECONDS = 0.02
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
# Study attributes: the identity of the run that the study belongs to, and its folder's own name.
IDENTITY, RUN = "sweeper:identity", "sweeper:run"

T = TypeVar("T")


class StorageGone(RunError):
    """The storage did not answer for longer than the limit."""


@dataclass
class StudyMirror:
    """One study in a storage.

    Args:
        url: The storage; may hold a password, never shown.
        run: Name that no other run's folder has; empty if it is not known.
        own: The run's own SQLite file, if ``url`` is that: a damaged one is made anew.
        say: Takes one line when the storage went away and one when it came back; called from
            whatever thread meets that.
        hurried: Whether the command was told to stop, and cannot wait any more.
        maximize: Whether higher values are better; a validation loss is minimised.
        owner_waits: Set while the command's own thread has nothing to do; writes go on fast then.
    """

    url: str
    name: str
    run: str = ""
    own: Path | None = None
    say: Callable[[str], None] = lambda _text: None
    hurried: Callable[[], bool] = lambda: False
    patience: float = PATIENCE_SECONDS
    maximize: bool = False
    clock: Callable[[], float] = time.monotonic
    gone: BaseException | None = field(default=None, init=False)
    owner_waits: threading.Event = field(default_factory=threading.Event, init=False)
    _storage: BaseStorage | None = field(default=None, init=False)
    _study: int = field(default=0, init=False)
    _ids: dict[int, int] = field(default_factory=dict, init=False)
    _shown: dict[int, FrozenTrial] = field(default_factory=dict, init=False)
    _left: queue.Queue[Callable[[], None] | None] = field(default_factory=queue.Queue, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _away_since: float | None = field(default=None, init=False)
    _again: bool = field(default=False, init=False)

    def open(self, identity: dict[str, Any]) -> list[FrozenTrial]:
        """Open the storage and the study, and read what an earlier call left there.

        Raises:
            RunError: It cannot be opened, is damaged, or holds another run's study of this name.
            StorageGone: It was away for too long.
        """
        try:
            return self._patiently(lambda: self._open(identity))
        except Exception as error:
            # Whatever the run's own file brings up, it is made from the run's other files.
            odd = self.own is not None and not isinstance(error, (RunError, OSError))
            if not is_damaged(error) and (not odd or no_room(error)):
                raise
            self._set_aside(error)
        return self._patiently(lambda: self._open(identity))

    def _set_aside(self, error: Exception) -> None:
        if self.own is None:
            raise RunError(
                f"the storage {without_password(self.url)} is damaged",
                why=first_line(error.__cause__ or error),
                fix="Move it away and give the same command again: the study is written anew from "
                "the run's files. Or restore it from a backup, if other studies lie in it.",
                where="--storage",
            ) from error
        aside = self.own.with_name(f"{self.own.name}.damaged")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.own}{end}").replace(f"{aside}{end}")
        self.say(
            f"{self.own.name} was damaged and is written anew from the run's files; what was left "
            f"of it is {aside.name}"
        )

    def _open(self, identity: dict[str, Any]) -> list[FrozenTrial]:
        self._storage = storage = open_storage(self.url)
        known = {one.study_name: one for one in storage.get_all_studies()}
        if self.name not in known:
            self._create(identity)
            return []
        self._study = known[self.name]._study_id
        attributes = known[self.name].user_attrs
        trials = storage.get_all_trials(self._study, deepcopy=False)
        if attributes.get(IDENTITY, identity) != identity:
            raise self._another("Its model, data or space differ from this run's.")
        if self.run and trials and attributes.get(RUN) != self.run:
            raise self._another("It asks the same question, from another run's folder.")
        self._sign(identity)
        self._ids = {one.number: one._trial_id for one in trials}
        self._shown = {one.number: one for one in trials}
        return trials

    def _another(self, why: str) -> RunError:
        return RunError(
            f"the storage holds another study named {self.name!r}",
            why=why,
            fix="Choose another --name or another --storage, or delete that study from it.",
            where="--storage",
        )

    def _sign(self, identity: dict[str, Any]) -> None:
        assert self._storage is not None
        self._storage.set_study_user_attr(self._study, IDENTITY, identity)
        if self.run:
            self._storage.set_study_user_attr(self._study, RUN, self.run)

    def _create(self, identity: dict[str, Any]) -> None:
        assert self._storage is not None
        direction = StudyDirection.MAXIMIZE if self.maximize else StudyDirection.MINIMIZE
        self._study = self._storage.create_new_study([direction], self.name)
        self._sign(identity)
        self._ids, self._shown = {}, {}

    def start(
        self, trials: Sequence[FrozenTrial], stored: Sequence[FrozenTrial], identity: dict[str, Any]
    ) -> None:
        """Bring the study up to these trials, and start the thread that writes."""
        same = [_same(mine, theirs) for mine, theirs in zip(trials, stored, strict=False)]
        if len(stored) > len(trials) or not all(same):
            self.say("the storage did not match the run's files, and is written anew")
            self._left.put(lambda: self._rewrite(identity))
            stored = ()
        for trial, theirs in itertools.zip_longest(trials, stored):
            if not trial.state.is_finished():
                self.show(trial, TrialState.WAITING)  # nobody has it yet, whatever was left
            elif theirs is None or not theirs.state.is_finished():
                self.show(trial)
        self._thread = threading.Thread(target=self._write, daemon=True, name="study-mirror")
        self._thread.start()

    def _rewrite(self, identity: dict[str, Any]) -> None:
        assert self._storage is not None
        for one in self._storage.get_all_studies():  # perhaps it is tried again
            if one.study_name == self.name:
                self._storage.delete_study(one._study_id)
        self._create(identity)

    def show(
        self,
        trial: FrozenTrial,
        state: TrialState | None = None,
        shown_too: Mapping[str, Any] = {},
    ) -> None:
        """Bring the storage up to a trial as the search has it now: begun, at a rung, or ended.

        Args:
            state: In place of the trial's own: an interrupted one waits for its next attempt.
            shown_too: Further attributes of a trial that ended, for people to see.
        """
        shown = _snapshot(trial)
        shown.state = state or trial.state
        shown.user_attrs |= shown_too
        self._left.put(functools.partial(self._bring, shown))

    def _bring(self, trial: FrozenTrial) -> None:
        if trial.number not in self._ids:
            self._create_trial(trial)
            return
        with contextlib.suppress(UpdateFinishedTrialError):
            self._update(trial, self._shown[trial.number])

    def _update(self, trial: FrozenTrial, before: FrozenTrial) -> None:
        assert self._storage is not None
        storage, trial_id = self._storage, self._ids[trial.number]
        ended, rungs = trial.state.is_finished(), trial.intermediate_values
        if ended:  # Optuna takes no report back: one of an attempt that broke off becomes no number
            rungs = dict.fromkeys(before.intermediate_values, math.nan) | rungs
        for rung, loss in rungs.items():
            if before.intermediate_values.get(rung) != loss:
                storage.set_trial_intermediate_value(trial_id, rung, loss)
        if ended:
            for name, value in trial.user_attrs.items():
                storage.set_trial_user_attr(trial_id, name, value)
            for name, value in trial.system_attrs.items():
                if name.startswith("constraints"):
                    storage.set_trial_system_attr(trial_id, name, value)
        if trial.state != before.state:
            storage.set_trial_state_values(trial_id, trial.state, trial.values)
        trial.intermediate_values = {**before.intermediate_values, **rungs}
        self._shown[trial.number] = trial

    def _create_trial(self, trial: FrozenTrial) -> None:
        assert self._storage is not None
        made = self._unheard(trial.number) if self._again else None
        if made is None:  # a storage may count from 0
            made = self._storage.create_new_trial(self._study, trial)
        self._ids[trial.number] = made
        self._shown[trial.number] = trial

    def _unheard(self, number: int) -> int | None:
        """The trial of that number, if it was created but the answer was lost."""
        assert self._storage is not None
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        return trials[number]._trial_id if len(trials) > number else None

    def _write(self) -> None:
        while (write := self._left.get()) is not None:
            self.owner_waits.wait(_BUSY_SECONDS)
            if self.gone is None:
                try:
                    self._patiently(write)
                except BaseException as error:  # noqa: BLE001 - the command's thread raises it
                    self.gone = error
            self._left.task_done()
        self._left.task_done()

    def check(self) -> None:
        """Raise the error that keeps the storage from being written.

        Raises:
            StorageGone: It was away for too long.
            NoRoom: Its disk is full.
            RunError: It does not take what it should.
        """
        if self.gone is None:
            return
        if isinstance(self.gone, StorageGone):
            raise self.gone
        if no_room(self.gone):
            raise NoRoom(first_line(self.gone)) from self.gone
        raise RunError(
            f"the storage {without_password(self.url)} cannot be written",
            why=first_line(self.gone),
            fix="Give the same command again: it resumes, and brings the storage up to date.",
        ) from self.gone

    @property
    def behind(self) -> bool:
        """Whether writes are still pending and possible."""
        return self.gone is None and self._left.unfinished_tasks > 0

    def close(self) -> None:
        """Write the rest, and stop."""
        if self._thread is not None:
            self.owner_waits.set()
            self._left.put(None)
            self._thread.join()
            self._thread = None
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    def _patiently(self, what: Callable[[], T]) -> T:
        began, wait, self._again = self.clock(), _FIRST_WAIT, False
        while True:
            try:
                result = what()
            except Exception as error:
                if not passes(error):
                    raise
                self._again = True
                if self._storage is not None:
                    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError):
                        self._storage.remove_session()
                self._went_away(error)
                limit = min(self.patience, HURRIED_SECONDS) if self.hurried() else self.patience
                if self.clock() - began > limit:
                    raise self._given_up(error) from error
            else:
                self._came_back()
                return result
            time.sleep(wait)
            wait = min(2 * wait, HURRIED_SECONDS / 4 if self.hurried() else _LONGEST_WAIT)

    def _went_away(self, error: BaseException) -> None:
        if self._away_since is None:
            self._away_since = self.clock()
            self.say(
                f"the storage does not answer ({first_line(error)}); trying again for up to "
                f"{self.patience:g} s"
            )

    def _came_back(self) -> None:
        if self._away_since is not None:
            since, self._away_since = self._away_since, None
            self.say(f"the storage answers again, after {self.clock() - since:.1f} s")

    def _given_up(self, error: BaseException) -> StorageGone:
        since = self.clock() if self._away_since is None else self._away_since
        return StorageGone(
            f"the storage has not answered for {self.clock() - since:.0f} s",
            why=first_line(error),
            fix="Repair it, then give the same command again: it resumes.",
        )


def _same(mine: FrozenTrial, theirs: FrozenTrial) -> bool:
    """Whether two trials may be the same: equal where both have ended."""
    if mine.params != theirs.params:
        return False
    if not theirs.state.is_finished():
        return True
    return mine.state == theirs.state and mine.values == theirs.values


# Where validation items' losses lie: large, and of use to the search alone, which has them.
_ITEMS = "sweeper:items"


def _snapshot(trial: FrozenTrial) -> FrozenTrial:
    """A copy of a trial, since the search goes on to change its own."""
    shown = copy.copy(trial)
    shown.user_attrs = {k: v for k, v in trial.user_attrs.items() if not k.startswith(_ITEMS)}
    shown.intermediate_values = dict(trial.intermediate_values)
    return shown
