"""The interface between a worker and what trains, and how far long work without rungs is."""

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

# The backend that really trains, by ``module:function``.
TRAINING = "sweeper.training.torch_backend:make"


class Decision(Enum):
    """The answer to a report: train on, end as pruned, or stop without a result."""

    CONTINUE = "continue"
    PRUNE = "prune"
    STOP = "stop"


class Interrupted(BaseException):
    """Training stopped on request; it did not end or fail.

    Not an ``Exception``, so that no handler of training errors takes it for one.
    """


class Backend(Protocol):
    """Trains and scores. One lives as long as its worker and serves one call at a time.

    Failures of training (out of memory, a loss that is not finite, a refused configuration) come
    back as ``TrialResult(state="FAIL", failure=...)``. An exception means a bug or a broken
    machine and costs the trial one attempt.
    """

    def baselines(self) -> Iterator[BaselineResult]:
        """Score the baselines, one after the other, on validation only.

        Test figures stay None: the test split is sealed at this time.
        """
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
                the last, under another name first and renamed when it is whole; older ones may go.
            report: To be called once at each rung, in order, with what is known there. The last
                rung's report comes before the return. On ``PRUNE`` end at once and return state
                ``PRUNED`` (``pruned_at_rung`` set, no ``validation_loss``); on ``STOP`` raise
                ``Interrupted``.
            should_stop: Cheap; to be asked at each optimizer step and each evaluation batch. When
                it says True, clean up and raise ``Interrupted``.
            checkpoint: A ``checkpoint-<rung>`` folder of an interrupted attempt at the same
                configuration. Training continues behind that rung, reports only later rungs, and
                ends with the loss of an attempt that was never interrupted.

        Returns:
            The result; paths in it are relative to ``folder``. The worker fills in ``worker``,
            ``started_at``, ``ended_at`` and ``pruned_because`` where they are empty.

        Raises:
            Interrupted: ``report`` answered ``STOP`` or ``should_stop`` said True.
        """
        ...

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        """Score one model on the sealed test split.

        Args:
            name: What the score is filed under: ``trial-7``, ``trial-7-seed-2`` or the name of a
                baseline.
            config: The configuration of the trial; None for a baseline.
            folder: Where ``weights/`` of the trial lies; None for a baseline.
        """
        ...

    def close(self) -> None:
        """Release all resources. The worker ends after this."""
        ...


Tell = Callable[[str, int, int], None]
"""Takes what is under way ("writing answers"), how much of it is done, and of how much."""

MakeBackend = Callable[[RunFolder, Plan, Spec, Tell], Backend]

Steps = Callable[[int, int], None]
"""Takes how much of one piece of work is done, and of how much."""

_EVERY_SECONDS = 0.5


def nothing(_done: int, _of: int) -> None:
    """Ignore the progress."""


class Underway:
    """Passes on how far work is, and ends it with ``Interrupted``.

    Args:
        tell: Called at the beginning of each piece of work, then at most twice a second.
    """

    def __init__(
        self,
        tell: Tell = lambda _what, _done, _of: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._last: tuple[str, float] | None = None
        self.should_stop: Callable[[], bool] = lambda: False
        self.title = ""

    def __call__(self, what: str, done: int, of: int) -> None:
        """Say that so much of a piece of work is done.

        Args:
            what: The work, as a person would call it: "scoring validation".
            of: Steps in all; 0 where nobody knows.

        Raises:
            Interrupted: ``should_stop`` said True.
        """
        if self.should_stop():
            raise Interrupted
        what = f"{self.title}: {what}" if self.title else what
        now = self._clock()
        if self._last is not None:
            last, told_at = self._last
            if what == last and now - told_at < _EVERY_SECONDS:
                return
        self._last = what, now
        self._tell(what, done, of)

    def steps(self, what: str) -> Steps:
        return partial(self, what)
