"""Whether a study has what was asked for before its last trial: a loss, or nothing left to gain.

Looked at where a trial ends, by whoever ended it, so that no further one is begun in vain; kept in
the study's attributes. Knows nothing of workers or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.trial import FrozenTrial

from sweeper.search.observations import observe
from sweeper.search.problem import Arm, Problem
from sweeper.search.stopping import outlook
from sweeper.search.study import ORIGIN
from sweeper.search.untrained import NOTHING, Untrained
from sweeper.spec import SearchSpec


@dataclass(frozen=True)
class Ending:
    """Why a search ended before its last trial.

    Args:
        kind: ``target`` loss reached, or ``settled``: nothing is left to gain that could be seen.
        because: In words.
        total: Trials that were asked for at that time.
    """

    kind: Literal["target", "settled"]
    because: str
    total: int


def can_end(asked: SearchSpec) -> bool:
    """Whether anything but the number of trials may end the search."""
    return asked.target_loss is not None or asked.stop_when_settled


def decide(
    problem: Problem[Arm],
    trials: Sequence[FrozenTrial],
    asked: SearchSpec,
    untrained: Untrained = NOTHING,
) -> Ending | None:
    """Whether these trials end the search.

    Args:
        problem: The plan.
        trials: All of the study.
        asked: The limits.
        untrained: What the sampler knows of models that were not trained.
    """
    return _target(problem, trials, asked) or _settled(problem, trials, asked, untrained)


def _target(
    problem: Problem[Arm], trials: Sequence[FrozenTrial], asked: SearchSpec
) -> Ending | None:
    if asked.target_loss is None:
        return None
    for one in observe(trials, problem.budget):
        if one.complete and one.keeps and one.loss is not None and one.loss <= asked.target_loss:
            reached = f"trial {one.number} reached a validation loss of {one.loss:.4g}"
            because = f"{reached}, and {asked.target_loss:g} was the target"
            return Ending("target", because, asked.trials)
    return None


def _settled(
    problem: Problem[Arm], trials: Sequence[FrozenTrial], asked: SearchSpec, untrained: Untrained
) -> Ending | None:
    # What is known beforehand is not for the search to call off: defaults and the user's own.
    given = [one for one in trials if one.user_attrs.get(ORIGIN, "search") != "search"]
    if not asked.stop_when_settled or not all(one.state.is_finished() for one in given):
        return None
    coming = outlook(problem, trials, untrained)
    if coming is None or coming.worth_it:
        return None
    return Ending("settled", str(coming), asked.trials)
