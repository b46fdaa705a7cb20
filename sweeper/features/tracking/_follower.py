"""Brings a tracker up to date with a run's folder.

The folder is the queue: the command has written every configuration, rung and result there before
anybody hears of it. What a service missed while it was away is therefore still there, and
``listeners/tracking/NAME.json`` says what it has.
"""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.features.tracking._base import Tracker
from sweeper.jsontext import object_of
from sweeper.redaction import clean
from sweeper.runfolder import RunFolder
from sweeper.textfile import read_text
from sweeper.trials import RungReport, TrialConfig, TrialResult

REPORT_FILES = ("report.html", "report.md", "trials.csv", "curves.csv")


class Logged(Record):
    """The part of a trial that was logged: up to a rung of an attempt, or its end."""

    id: str
    attempt: int = 0
    rung: int = 0
    ended: bool = False


class TrackingState(Artifact):
    """The logged part of a run: ``listeners/tracking/NAME.json``."""

    where: str = ""
    run: str = ""
    trials: dict[int, Logged] = Field(default_factory=dict)


class Follower:
    """One run and one tracker.

    Every method may raise what the client raises. What was logged before is noted by then, so that
    the next call goes on from there.
    """

    def __init__(self, run: RunFolder, tracker: Tracker) -> None:
        self._run, self._tracker = run, tracker
        self._path = tracker.folder / f"{tracker.name}.json"
        state = TrackingState.read_or_none(self._path)
        if state is None or state.where != tracker.where:
            state = TrackingState(where=tracker.where)
        self._state = state
        self._started = False
        self._open: set[int] = set()
        self._changed: set[int] = set()
        self._read = 0

    def catch_up(self) -> None:
        """Log what has happened since the last call."""
        if not self._started:
            self._note(run=self._tracker.start(self._state.run))
            self._started = True
        self._hear()
        for number in sorted(self._changed):
            self._trial(number)
            self._changed.discard(number)

    def end(self, state: str) -> None:
        """Log the rest, close open trials, and log the report."""
        self.catch_up()
        for number in sorted(self._open):
            self._tracker.trial_left(self._state.trials[number].id)
            self._open.discard(number)
        figures, text = self._figures()
        files = [self._run.path / name for name in REPORT_FILES]
        there = [path for path in files if path.is_file()]
        self._tracker.ended(self._state.run, state, figures, text, there)

    def _hear(self) -> None:
        """Note the trials of new events."""
        path = self._run.events
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if path.stat().st_size < self._read:  # a half line at its end was cut off
                self._read = 0
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + len(newline)
            for line in whole.splitlines():
                with contextlib.suppress(ValueError):
                    number = object_of(line).get("trial")
                    if isinstance(number, int):
                        self._changed.add(number)

    def _trial(self, number: int) -> None:
        folder = self._run.trial(number)
        config = TrialConfig.read_or_none(folder / "config.json")
        if config is None:
            return
        logged = self._state.trials.get(number, Logged(id=""))
        result = TrialResult.read_or_none(folder / "result.json")
        if logged.ended and result is not None and result.attempt == logged.attempt:
            return
        if number not in self._open:
            begun = self._tracker.trial_started(config, logged.id)
            logged = self._keep(number, logged, id=begun, ended=False)
            self._open.add(number)
        for report in RungReport.read_lines(folder / "rungs.jsonl"):
            if (report.attempt, report.rung) > (logged.attempt, logged.rung):
                self._tracker.rung(logged.id, report)
                logged = self._keep(number, logged, attempt=report.attempt, rung=report.rung)
        if result is not None:
            self._tracker.trial_ended(logged.id, config, result)
            self._keep(number, logged, attempt=result.attempt, ended=True)
            self._open.discard(number)

    def _keep(self, number: int, logged: Logged, **changes: Any) -> Logged:
        logged = logged.model_copy(update=changes)
        self._note(trials={**self._state.trials, number: logged})
        return logged

    def _note(self, **changes: Any) -> None:
        self._state = self._state.model_copy(update=changes)
        self._state.write(self._path, synced=False)

    def _figures(self) -> tuple[dict[str, float], str]:
        """Figures of the whole sweep, and its verdict."""
        states = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        losses = []
        for number in self._state.trials:
            result = TrialResult.read_or_none(self._run.trial(number) / "result.json")
            if result is not None:
                states[result.state] += 1
                losses += [result.validation_loss] if result.validation_loss is not None else []
        figures: dict[str, float] = {
            f"trials/{name.lower()}": count for name, count in states.items()
        }
        if losses:
            figures["best_validation_loss"] = min(losses)
        try:
            findings = object_of(read_text(self._run.findings))
            verdict, metric = findings["verdict"], findings["metric"]["name"]
            scores = {
                finalist["trial"]: finalist["test_score"] for finalist in findings["finalists"]
            }
        except (OSError, ValueError, KeyError, TypeError):
            return figures, ""
        if (best := verdict.get("recommended_trial")) is not None:
            figures["recommended_trial"] = best
            if scores.get(best):
                figures[f"test/{metric}"] = scores[best]["value"]
        return figures, clean(verdict.get("sentence") or "")
