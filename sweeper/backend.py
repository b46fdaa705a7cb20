"""The interface between a worker and the training backend, and the progress of long work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Protocol

from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.trials import BaselineResult, RungReport, TestScore, TrialConfig, TrialResult

# The backend that trains with torch, as ``module:function``.
TORCH_BACKEND = "sweeper.training.torch_backend:make"


class Decision(Enum):
    """The answer to a rung report: continue, end as pruned, or stop without a result."""

    CONTINUE = "continue"
    PRUNE = "prune"
    STOP = "stop"


class Interrupted(BaseException):
    """Training stopped on request, before its end and without a failure.

    Not an ``Exception``, so that handlers of training errors do not catch it.
    """


class Backend(Protocol):
    """Trains and scores models for one worker. Calls do not overlap.

    Failures of training (out of memory, a loss that is not finite, a refused configuration) are
    returned as ``TrialResult(state="FAIL", failure=...)``. An exception means a bug or a broken
    machine and costs the trial one attempt.
    """

    def baselines(self) -> Iterator[BaselineResult]:
        """Score the baselines one by one on the validation split; the test split is sealed."""
        ...

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> TrialResult:
        """Train one trial from the base weights and score it on the validation split.

        Args:
            folder: An empty folder of this attempt. Write ``trainer.log``, ``item_losses.json``
                and (if ``config.keep_weights``) ``weights/`` here, and nothing elsewhere. If
                ``config.checkpoints``, also write ``checkpoint-<rung>/`` before each report but
                the last, renamed from a temporary name when complete; older checkpoints may be
                removed.
            report: Callback for each rung in order, also the last. On ``PRUNE``, end at
                once and return state ``PRUNED`` (``pruned_at_rung`` set, no ``validation_loss``);
                on ``STOP``, raise ``Interrupted``.
            should_stop: Cheap callback for each optimizer step and each evaluation batch. If it
                returns True, clean up and raise ``Interrupted``.
            checkpoint: A ``checkpoint-<rung>`` folder of an interrupted attempt at the same
                configuration. Training continues after that rung, reports only later rungs, and
                ends with the same loss as uninterrupted.

        Returns:
            The result; its paths are relative to ``folder``. The worker fills in ``worker``,
            ``started_at``, ``ended_at`` and ``pruned_because`` if they are empty.

        Raises:
            Interrupted: ``report`` returned ``STOP`` or ``should_stop`` returned True.
        """
        ...

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        """Score one model on the sealed test split.

        Args:
            name: The key of the score: ``trial-7``, ``trial-7-seed-2`` or the name of a baseline.
            config: The configuration of the trial; None for a baseline.
            folder: The trial's folder with ``weights/``; None for a baseline.
        """
        ...

    def close(self) -> None:
        """Release all resources. The worker ends after this."""
        ...


OnProgress = Callable[[str, int, int], None]
"""Called with the current work ("writing answers"), the amount done, and the total. A
``ProgressReporter`` limits the calls to two a second."""

MakeBackend = Callable[[RunFolder, Plan, Spec, OnProgress], Backend]

Steps = Callable[[int, int], None]
"""Called with the amount done of some work, and the total."""

# Least time between two reports of the same work.
_MIN_REPORT_SECONDS = 0.5


def no_progress(*_: object) -> None:
    """Ignore progress: an ``OnProgress`` or ``Steps``."""


class ProgressReporter:
    """Reports the progress of the current work, and interrupts it on request.

    Args:
        on_progress: Callback at the beginning of each piece of work, then at most twice a second.

    Attributes:
        should_stop: Whether to interrupt the work at its next report.
        title: Prefix of each work's name, if not empty.
    """

    def __init__(
        self,
        on_progress: OnProgress = no_progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._last_report: tuple[str, float] | None = None
        self.should_stop: Callable[[], bool] = lambda: False
        self.title = ""

    def __call__(self, what: str, done: int, of: int) -> None:
        """Report the progress of some work.

        Args:
            what: The work in words, such as "scoring validation".
            done: The amount done.
            of: The total; 0 if unknown.

        Raises:
            Interrupted: ``should_stop`` returned True.
        """
        if self.should_stop():
            raise Interrupted
        what = f"{self.title}: {what}" if self.title else what
        now = self._clock()
        if self._last_report is not None:
            last, reported_at = self._last_report
            if what == last and now - reported_at < _MIN_REPORT_SECONDS:
                return
        self._last_report = what, now
        self._on_progress(what, done, of)

    def steps(self, what: str) -> Steps:
        """A callback for the progress of one piece of work."""
        return partial(self, what)
