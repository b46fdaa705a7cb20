"""Writes a plan's predictions, such as of memory and time, and scores them once the run ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

from sweeper import __version__
from sweeper.features.ledger._ledger import add
from sweeper.features.ledger._predictions import (
    PREDICTIONS,
    SCORES,
    Predictions,
    RunScores,
    predictions_of,
)
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec


def begin(run: RunFolder, spec: Spec, plan: Plan) -> None:
    """Write the plan's predictions, unless they exist or a trial has begun."""
    path = run.feature("ledger") / PREDICTIONS
    if path.exists() or any(run.trials.glob("*")):
        return
    Predictions(
        id=uuid.uuid4().hex, sweeper_version=__version__, predictions=tuple(predictions_of(plan))
    ).write(path)


def finish(run: RunFolder, spec: Spec, plan: Plan, say: Callable[[str], None]) -> None:
    """Score the predictions once, and add the scores to those of this machine."""
    from sweeper.features.ledger._scoring import scores_of
    from sweeper.findings.study.reading import read_run

    folder = run.feature("ledger")
    predictions = Predictions.read_or_none(folder / PREDICTIONS)
    if predictions is None or (folder / SCORES).exists():
        return
    scored = tuple(scores_of(predictions.predictions, read_run(run)))
    with suppress(OSError):  # on a full disk, later plans do without these scores
        add(predictions.id, plan.facts, plan.budget.trials, scored)
    with suppress(OSError):
        RunScores(scored=scored).write(folder / SCORES)
