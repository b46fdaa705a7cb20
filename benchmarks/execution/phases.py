"""The backend of ``kills``: a real run's phases, each long enough to be killed in.

Times are set by ``CURVE_STEP_SECONDS``, a step of a trial, and ``SCORE_SECONDS``, one model on the
test split; a baseline takes two of these.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "execution"))

import curve_backend

from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.trials import BaselineResult, TestScore, TrialConfig

SCORE_SECONDS = float(os.environ.get("SCORE_SECONDS", "0.3"))


class PhasedBackend(curve_backend.CurveBackend):
    """The curve backend, which takes its time over baselines and test scores too."""

    def baselines(self) -> Iterator[BaselineResult]:
        for one in super().baselines():
            time.sleep(2 * SCORE_SECONDS)
            yield one

    def score_test(self, name: str, config: TrialConfig | None, folder: Path | None) -> TestScore:
        time.sleep(SCORE_SECONDS)
        score: TestScore = super().score_test(name, config, folder)
        return score


def make(run: RunFolder, plan: Plan, spec: Spec, tell: object = None) -> PhasedBackend:
    return PhasedBackend(run)
