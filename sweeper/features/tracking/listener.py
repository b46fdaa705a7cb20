"""One listener for each service, which logs a run while it goes on.

The run's folder is the queue: the command writes every configuration, rung and result there first.
``listeners/tracking/NAME.json`` records what a service has, so that an unreachable one can catch up
later.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.errors import NotInstalled
from sweeper.features.tracking.options import Options
from sweeper.packages import install_command, missing
from sweeper.plans import Plan
from sweeper.runfolder import CONFIG, RESULT, RUNGS, RunFolder
from sweeper.safe_text import clean
from sweeper.spec import Scalar, Spec
from sweeper.textfiles import json_object, read_json_object
from sweeper.trials import Measure, RungReport, TrialConfig, TrialResult


class Tracker(ABC):
    """Logs one run to one service.

    An id is the service's own name of the sweep or a trial. Ids are kept in the run's folder, so
    that a later command can continue the same entries.
    """

    name: ClassVar[str]

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        self.run, self.plan = run, plan

    @property
    def folder(self) -> Path:
        """The folder for the files of all trackers."""
        return self.run.listeners / "tracking"

    @property
    def title(self) -> str:
        """The name of the sweep, which is that of the run's folder."""
        return self.run.path.resolve().name

    @property
    def where(self) -> str:
        """The address of the service, without secrets. If it changes, earlier ids are not used."""
        return ""

    @abstractmethod
    def start(self, sweep_id: str) -> str:
        """Begin the sweep, or continue it.

        Args:
            sweep_id: Id of the sweep from an earlier command; empty if there was none.

        Returns:
            The id of the sweep.
        """

    @abstractmethod
    def trial_started(self, config: TrialConfig, trial_id: str) -> str:
        """Begin a trial with its parameters, or open it again.

        Args:
            trial_id: Id of the trial from an earlier command; empty if there was none.

        Returns:
            The id of the trial.
        """

    @abstractmethod
    def rung(self, trial_id: str, report: RungReport) -> None:
        """Log a trial's losses and metrics at one rung."""

    @abstractmethod
    def trial_ended(self, trial_id: str, config: TrialConfig, result: TrialResult) -> None:
        """Log the end of a trial, and close it."""

    @abstractmethod
    def trial_interrupted(self, trial_id: str) -> None:
        """Close a trial that a later command will continue."""

    @abstractmethod
    def ended(
        self, sweep: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        """Log the end of this command.

        Args:
            sweep: Id of the sweep.
            state: ``complete``, ``interrupted``, ``timeout``, ``none-completed`` or ``failed``.
            text: The verdict; may be empty.
            files: The report's files.
        """


def tracker_class(name: str) -> type[Tracker]:
    """The tracker that the module of this name defines; loads its client library."""
    module = importlib.import_module(f"{__package__}._{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Tracker) and value is not Tracker
    ]
    return classes[0]


def parameters(config: TrialConfig) -> dict[str, Scalar]:
    """A trial's settings by name, without the path of a local model."""
    return {
        "strategy": config.strategy,
        "model": model_name(config.model),
        "seed": config.seed,
        **config.parameters,
    }


def rung_figures(report: RungReport) -> dict[str, float]:
    """The losses at a rung, as ``rungs.jsonl`` names them, and metrics as ``validation/NAME``."""
    losses = {
        "validation_loss": report.validation_loss,
        "train_loss": report.train_loss,
        "epoch": report.epochs,
    }
    measures = _measures(report.measures)
    return _finite_figures({**losses, **measures, **_with_prefix("validation", report.metrics)})


def _measures(measures: Mapping[str, Measure]) -> dict[str, float | None]:
    """Measures by name, and their change by training as ``NAME/change``; None without a base."""
    values: dict[str, float | None] = {}
    for name, measure in measures.items():
        values |= {
            name: measure.value,
            f"{name}/change": None if measure.base is None else measure.change,
        }
    return values


def final_figures(result: TrialResult) -> dict[str, float]:
    """The final figures of a trial as ``final/NAME``."""
    values = {
        "validation_loss": result.validation_loss,
        **_measures(result.measures),
        "training_seconds": result.training_seconds,
        "evaluation_seconds": result.evaluation_seconds,
        "peak_memory_gib": result.peak_memory_gib,
        "tokens": result.tokens,
        "trainable_parameters": result.trainable_parameters,
        **result.metrics,
    }
    return _finite_figures(_with_prefix("final", values))


def reason(result: TrialResult) -> str:
    """Why a trial failed, was pruned or stopped early; empty if it was trained to its end."""
    failure = f"{result.failure.kind}: {result.failure.detail}" if result.failure else ""
    return clean(failure or result.pruned_because or result.stopped_because)


def model_name(model: str) -> str:
    """A model's id, or the name of its folder.

    >>> model_name("/data/models/llama"), model_name("org/llama")
    ('llama', 'org/llama')
    """
    return Path(model).name if model.startswith(("/", "~", ".")) else model


def _with_prefix(prefix: str, figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"{prefix}/{name}": value for name, value in figures.items()}


def _finite_figures(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in figures.items()
        if value is not None and math.isfinite(value)
    }


# Files of a run that are logged at its end.
REPORT_FILES = ("report.html", "report.md", "trials.csv", "curves.csv")


class Logged(Record):
    """The logged part of a trial: up to ``rung`` of ``attempt``, or to its end."""

    id: str
    attempt: int = 0
    rung: int = 0
    ended: bool = False


class TrackingState(Artifact):
    """The logged part of a run: ``listeners/tracking/NAME.json``.

    ``run`` is the id of the sweep, and ``where`` is that of the tracker.
    """

    where: str = ""
    run: str = ""
    trials: dict[int, Logged] = Field(default_factory=dict)


class Follower:
    """Logs one run with one tracker.

    Every method may raise exceptions of the client. What was logged before is recorded, so that the
    next call continues from there.
    """

    def __init__(self, run: RunFolder, tracker: Tracker) -> None:
        self._run, self._tracker = run, tracker
        self._path = tracker.folder / f"{tracker.name}.json"
        state = TrackingState.read_or_none(self._path)
        if state is None or state.where != tracker.where:
            state = TrackingState(where=tracker.where)
        self._state = state
        self._started = False
        self._open_trials: set[int] = set()
        self._changed_trials: set[int] = set()
        self._read_bytes = 0

    def catch_up(self) -> None:
        """Log what has happened since the last call."""
        if not self._started:
            self._write_state(run=self._tracker.start(self._state.run))
            self._started = True
        self._read_events()
        for number in sorted(self._changed_trials):
            self._log_trial(number)
            self._changed_trials.discard(number)

    def end(self, state: str) -> None:
        """Log the rest, close open trials, and log the report."""
        self.catch_up()
        for number in sorted(self._open_trials):
            self._tracker.trial_interrupted(self._state.trials[number].id)
            self._open_trials.discard(number)
        figures, text = self._figures()
        files = [self._run.path / name for name in REPORT_FILES]
        existing = [path for path in files if path.is_file()]
        self._tracker.ended(self._state.run, state, figures, text, existing)

    def _read_events(self) -> None:
        """Mark the trials of new events as changed."""
        path = self._run.events
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if path.stat().st_size < self._read_bytes:  # an incomplete last line was cut off
                self._read_bytes = 0
            file.seek(self._read_bytes)
            complete_lines, newline, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(complete_lines) + len(newline)
            for line in complete_lines.splitlines():
                with contextlib.suppress(ValueError):
                    number = json_object(line).get("trial")
                    if isinstance(number, int):
                        self._changed_trials.add(number)

    def _log_trial(self, number: int) -> None:
        folder = self._run.trial(number)
        config = TrialConfig.read_or_none(folder / CONFIG)
        if config is None:
            return
        logged = self._state.trials.get(number, Logged(id=""))
        result = TrialResult.read_or_none(folder / RESULT)
        if logged.ended and result is not None and result.attempt == logged.attempt:
            return
        if number not in self._open_trials:
            trial_id = self._tracker.trial_started(config, logged.id)
            logged = self._record(number, logged, id=trial_id, ended=False)
            self._open_trials.add(number)
        for report in RungReport.read_lines(folder / RUNGS):
            if (report.attempt, report.rung) > (logged.attempt, logged.rung):
                self._tracker.rung(logged.id, report)
                logged = self._record(number, logged, attempt=report.attempt, rung=report.rung)
        if result is not None:
            self._tracker.trial_ended(logged.id, config, result)
            self._record(number, logged, attempt=result.attempt, ended=True)
            self._open_trials.discard(number)

    def _record(self, number: int, logged: Logged, **changes: Any) -> Logged:
        logged = logged.model_copy(update=changes)
        self._write_state(trials={**self._state.trials, number: logged})
        return logged

    def _write_state(self, **changes: Any) -> None:
        self._state = self._state.model_copy(update=changes)
        self._state.write(self._path, synced=False)

    def _figures(self) -> tuple[dict[str, float], str]:
        """Figures of the whole sweep, and its verdict; empty before there is one."""
        states = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        losses = []
        for number in self._state.trials:
            result = TrialResult.read_or_none(self._run.trial(number) / RESULT)
            if result is not None:
                states[result.state] += 1
                losses += [result.validation_loss] if result.validation_loss is not None else []
        figures: dict[str, float] = {
            f"trials/{name.lower()}": count for name, count in states.items()
        }
        if losses:
            figures["best_validation_loss"] = min(losses)
        try:
            findings = read_json_object(self._run.findings)
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


# The client module of each service; the extra has the service's name.
_CLIENTS = {"mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboardX"}
# Seconds that a listener may take at the end of a run; with the report it takes one or two.
_END_SECONDS = 10.0


def wanted(spec: Spec) -> dict[str, float]:
    """The requested services, each with its time limit at the end, in seconds.

    Raises:
        NotInstalled: Clients are missing; the error names all of them.
    """
    services = dict.fromkeys(spec.features.of(Options).services)
    problems = [
        problem
        for name in services
        for problem in missing(f"--track {name}", [_CLIENTS[name]], install_command(name))
    ]
    if problems:
        raise NotInstalled(problems)
    return dict.fromkeys(services, _END_SECONDS)


def listen(name: str, run: RunFolder, spec: Spec) -> Follower:
    """The follower that logs to a service; loads its client."""
    if name == "tensorboard":
        # tensorboardX loads torch if it can, but works without it: this saves 200 MiB. Not for
        # MLflow, which takes the entry in sys.modules for a loaded torch, and imports it.
        sys.modules["torch"] = None  # type: ignore[assignment]
    return Follower(run, tracker_class(name)(run, Plan.read(run.plan)))
