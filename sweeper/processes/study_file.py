"""``study.db``: the study of a run as an Optuna storage, made from the run's files.

Dashboards and plain Optuna read it; sweeper does not.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sqlite3
import time
from itertools import count, takewhile

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError
from sweeper.execution.state.status import Status
from sweeper.objective import limits_of
from sweeper.plans import Plan
from sweeper.runfolder import CONFIG, RESULT, RUNGS, RunFolder
from sweeper.search.search import Search
from sweeper.spec import Spec
from sweeper.trials import RungReport, TrialConfig, TrialResult

# Longest wait for a file that a reader or a backup has locked; SQLite's backup would wait for ever.
LOCKED_SECONDS = 1.0
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class StudyFile:
    """The study of one run, updated by each ``write``.

    A database in memory holds the ended trials. Its copy replaces the file in one transaction;
    Optuna then adds the other trials to the file.
    """

    def __init__(self, run: RunFolder, spec: Spec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Optuna would print a stack trace for an error that is one line for the user.
        logging.getLogger("optuna.storages").setLevel(logging.ERROR)
        self._run = run
        self._search = Search(Plan.read(run.plan), limits=limits_of(spec))
        self._memory = RDBStorage("sqlite:///:memory:")
        self._memory_study = optuna.create_study(
            study_name=run.path.resolve().name,
            storage=self._memory,
            directions=self._search.study.directions,
        )
        self._restored_count, self._written_count, self._ended_numbers = 0, 0, set[int]()

    def write(self) -> None:
        """Write the current trials.

        Raises:
            RunError: The file is locked.
            sqlite3.Error: The disk is full.
            OSError: Something that cannot be deleted has the file's name.
        """
        self._read()
        trials = self._search.study.get_trials(deepcopy=False)[self._written_count :]
        ended = list(takewhile(lambda trial: trial.state.is_finished(), trials))
        self._memory_study.add_trials(ended)
        self._written_count += len(ended)
        path = self._run.study
        try:
            self._replace()
        except sqlite3.DatabaseError:  # damaged, or the disk is full
            for suffix in ("", "-wal", "-shm", "-journal"):
                path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
            self._replace()
        if open_trials := trials[len(ended) :]:
            options = {"connect_args": {"timeout": LOCKED_SECONDS}}
            storage = RDBStorage(f"sqlite:///{path.resolve()}", engine_kwargs=options)
            study = optuna.load_study(study_name=self._memory_study.study_name, storage=storage)
            study.add_trials(self._with_waiting_state(open_trials))
            storage.engine.dispose()

    def _replace(self) -> None:
        """Replace the content of the file by the database in memory."""
        path, started = self._run.study, time.monotonic()
        if path.exists() and not path.is_file():
            path.unlink()

        def refuse_locked(status: int, *_: int) -> None:
            if status & 0xFF in _LOCKED and time.monotonic() > started + LOCKED_SECONDS:
                raise RunError("the file is locked")

        memory = self._memory.engine.raw_connection().driver_connection
        assert memory is not None
        with contextlib.closing(sqlite3.connect(path, LOCKED_SECONDS)) as file:
            memory.backup(file, progress=refuse_locked)

    def _with_waiting_state(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Copies of the trials, with the state WAITING if they neither ended nor have a worker."""
        status = Status.read_or_none(self._run.status)
        running = {job.trial for job in status.running if not job.job} if status else set()
        copies = [copy.copy(trial) for trial in trials]
        for trial in copies:
            if not trial.state.is_finished() and trial.number not in running:
                trial.state = TrialState.WAITING
        return copies

    def _read(self) -> None:
        """Read new trials, and trials that had not ended at the last call."""
        for number in count():
            folder = self._run.trial(number)
            if number in self._ended_numbers:
                continue
            config = TrialConfig.read_or_none(folder / CONFIG)
            if config is None:  # not begun, or damaged
                return
            if number == self._restored_count:
                self._search.restore(config)
                self._restored_count += 1
            self._search.restart(number, RungReport.read_lines(folder / RUNGS))
            result = TrialResult.read_or_none(folder / RESULT)
            if result is not None:
                self._search.tell(number, result)
                self._ended_numbers.add(number)
