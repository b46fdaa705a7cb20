"""The interface of a tracker, and the names of logged figures.

A tracker talks to one client library. It may raise whatever that raises: ``Follower`` tries again.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from sweeper.plans import Plan
from sweeper.redaction import clean
from sweeper.runfolder import RunFolder
from sweeper.spec import Scalar
from sweeper.trials import Measure, RungReport, TrialConfig, TrialResult


class Tracker(ABC):
    """Logs one run to one service.

    Ids are the service's own names of a run; they are kept in the run's folder, so that a later
    call can go on in the same runs.
    """

    name: ClassVar[str]

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        self.run, self.plan = run, plan

    @property
    def folder(self) -> Path:
        """Where files of trackers lie."""
        return self.run.listeners / "tracking"

    @property
    def title(self) -> str:
        """The name of the whole sweep: that of its folder."""
        return self.run.path.resolve().name

    @property
    def where(self) -> str:
        """The address of the service, without secrets; ids of another service are not used."""
        return ""

    @abstractmethod
    def start(self, run_id: str) -> str:
        """Begin the sweep, or go on with it.

        Args:
            known: Its id from an earlier call. May be empty.

        Returns:
            Its id.
        """

    @abstractmethod
    def trial_started(self, config: TrialConfig, trial_id: str) -> str:
        """Begin a trial with its parameters, or open it again.

        Args:
            known: Its id from an earlier call. May be empty.

        Returns:
            Its id.
        """

    @abstractmethod
    def rung(self, run: str, report: RungReport) -> None:
        """Log a trial's losses at one rung."""

    @abstractmethod
    def trial_ended(self, run: str, config: TrialConfig, result: TrialResult) -> None:
        """Log the end of a trial, and close it."""

    @abstractmethod
    def trial_left(self, run: str) -> None:
        """Close a trial that a later call will continue."""

    @abstractmethod
    def ended(
        self, run: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        """Log the end of this call.

        Args:
            state: ``complete``, ``interrupted``, ``timeout``, ``none-completed`` or ``failed``.
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
    """A trial's parameters by name. A model in a folder is named without its path."""
    return {
        "strategy": config.strategy,
        "model": model_name(config.model),
        "seed": config.seed,
        **config.parameters,
    }


def rung_figures(report: RungReport) -> dict[str, float]:
    """The losses at a rung, as ``rungs.jsonl`` names them, and metrics as ``validation/NAME``."""
    named = {
        "validation_loss": report.validation_loss,
        "train_loss": report.train_loss,
        "epoch": report.epochs,
    }
    measures = _measures(report.measures)
    return _finite({**named, **measures, **_with_prefix("validation", report.metrics)})


def _measures(measures: Mapping[str, Measure]) -> dict[str, float | None]:
    """Measures by name, and what training changed in them as ``NAME/change``."""
    values: dict[str, float | None] = {}
    for name, measure in measures.items():
        values |= {
            name: measure.value,
            f"{name}/change": None if measure.base is None else measure.change,
        }
    return values


def final_figures(result: TrialResult) -> dict[str, float]:
    """How a trial ended, all as ``final/NAME``."""
    named = {
        "validation_loss": result.validation_loss,
        **_measures(result.measures),
        "training_seconds": result.training_seconds,
        "evaluation_seconds": result.evaluation_seconds,
        "peak_memory_gib": result.peak_memory_gib,
        "tokens": result.tokens,
        "trainable_parameters": result.trainable_parameters,
        **result.metrics,
    }
    return _finite(_with_prefix("final", named))


def reason(result: TrialResult) -> str:
    """Why a trial failed, was pruned or stopped early; empty where it was trained to its end."""
    failed = f"{result.failure.kind}: {result.failure.detail}" if result.failure else ""
    return clean(failed or result.pruned_because or result.stopped_because)


def model_name(model: str) -> str:
    """A model's id, or the name of its folder.

    >>> model_name("/data/models/llama"), model_name("org/llama")
    ('llama', 'org/llama')
    """
    return Path(model).name if model.startswith(("/", "~", ".")) else model


def _with_prefix(prefix: str, figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"{prefix}/{name}": value for name, value in figures.items()}


def _finite(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in figures.items()
        if value is not None and math.isfinite(value)
    }
