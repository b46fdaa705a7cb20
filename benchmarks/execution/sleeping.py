"""A training backend whose trials sleep, and note when they slept and how long verdicts took.

Losses are those of the tests' curve backend. ``CURVE_STEP_SECONDS`` is the time of one of the 40
steps of a trial. Each worker writes one file in ``notes/`` of the run.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests" / "execution"
sys.path.insert(0, str(TESTS))

import curve_backend as curve_backend  # noqa: E402

from sweeper.backend import Decision  # noqa: E402
from sweeper.plans import Plan  # noqa: E402
from sweeper.runfolder import RunFolder  # noqa: E402
from sweeper.spec import Spec  # noqa: E402
from sweeper.trials import (  # noqa: E402
    MOST_ITEMS,
    BaselineResult,
    FirstItems,
    RungReport,
    TrialConfig,
    TrialResult,
)

RUNGS = 8
STEPS_A_TRIAL = RUNGS * curve_backend.STEPS_A_RUNG
NOTES = "notes"
_ITEMS_OF_ALL = 4 * MOST_ITEMS
_PATTERN = [math.exp(curve_backend.noise("item", n)) for n in range(MOST_ITEMS)]

_worker = itertools.count()


class SleepingBackend:
    """Sleeps instead of training; reports as many items' losses as a real trial may."""

    def __init__(self, run: RunFolder) -> None:
        self._curves = curve_backend.CurveBackend(run)
        self._notes = run.path / NOTES / f"{os.getpid()}-{next(_worker)}.jsonl"
        self._notes.parent.mkdir(exist_ok=True)
        self._note(ready=time.monotonic())

    def _note(self, **fields: object) -> None:
        with self._notes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")

    def baselines(self) -> Iterator[BaselineResult]:
        return iter(self._curves.baselines())

    def train(
        self,
        config: TrialConfig,
        folder: Path,
        report: Callable[[RungReport], Decision],
        should_stop: Callable[[], bool],
        checkpoint: Path | None = None,
    ) -> TrialResult:
        waited: list[float] = []

        def timed(rung: RungReport) -> Decision:
            rung = rung.model_copy(update={"first_items": items(rung)})
            asked = time.monotonic()
            decision = report(rung)
            waited.append(time.monotonic() - asked)
            return decision

        began = time.monotonic()
        result: TrialResult = self._curves.train(config, folder, timed, should_stop)
        self._note(
            trial=config.number,
            seed=config.seed,
            began=began,
            ended=time.monotonic(),
            slept=result.optimizer_steps * curve_backend.STEP_SECONDS,
            waited=waited,
        )
        return result

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> object:
        return self._curves.score_test(name, config, folder)

    def close(self) -> None:
        return None


def items(rung: RungReport) -> FirstItems:
    """What a trial tells of the first validation items, whose mean is the rung's loss."""
    level = rung.validation_loss / (sum(_PATTERN) / MOST_ITEMS)
    return FirstItems.among([level * one for one in _PATTERN], _ITEMS_OF_ALL)


def make(run: RunFolder, plan: Plan, spec: Spec, tell: object = None) -> SleepingBackend:
    return SleepingBackend(run)
