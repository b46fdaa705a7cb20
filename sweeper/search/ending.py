"""Whether a study has what was asked for before its last trial: a loss, or nothing left to gain.

Looked at where a trial ends, by whoever ended it, so that no further one is begun in vain; kept in
the study's attributes. Knows nothing of workers or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeper.search.expected_gain import expected_gain
from sweeper.search.observations import observe
from sweeper.search.problem import Problem
from sweeper.search.sampler import SweeperSampler
from sweeper.search.study import ORIGIN, SPEC, TOTAL
from sweeper.search.untrained import NOTHING, Untrained, noted
from sweeper.spec import SearchSpec, Spec

ENDING = "sweeper:ending"


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
    problem: Problem,
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


def _target(problem: Problem, trials: Sequence[FrozenTrial], asked: SearchSpec) -> Ending | None:
    if asked.target_loss is None:
        return None
    for one in observe(trials, problem.budget):
        if one.complete and one.keeps and one.loss is not None and one.loss <= asked.target_loss:
            reached = f"trial {one.number} reached a validation loss of {one.loss:.4g}"
            because = f"{reached}, and {asked.target_loss:g} was the target"
            return Ending("target", because, asked.trials)
    return None


def _settled(
    problem: Problem, trials: Sequence[FrozenTrial], asked: SearchSpec, untrained: Untrained
) -> Ending | None:
    # What is known beforehand is not for the search to call off: defaults and the user's own.
    given = [one for one in trials if one.user_attrs.get(ORIGIN, "search") != "search"]
    if not asked.stop_when_settled or not all(one.state.is_finished() for one in given):
        return None
    coming = expected_gain(SweeperSampler(problem), observe(trials, problem.budget), untrained)
    if coming is None or coming.worth_it:
        return None
    return Ending("settled", str(coming), asked.trials)


def ending_of(study: optuna.Study) -> Ending | None:
    """Why this study's search ended, if it did."""
    kept = study.user_attrs.get(ENDING)
    return Ending(**kept) if kept else None


def look(study: optuna.Study, problem: Problem) -> Ending | None:
    """End the search of a study if its trials say so: nobody begins another one then.

    Trials that run go on to their own end. A study that no command opened is left alone.
    """
    text = study.user_attrs.get(SPEC)
    if text is None:
        return None
    asked = Spec.from_json(text).search
    if not can_end(asked):
        return None
    trials = study.get_trials(deepcopy=False)
    found = ending_of(study) or decide(problem, trials, asked, noted(study))
    if found is not None:
        _call_off(study, trials, found)
    return found


def reopen(study: optuna.Study, asked: SearchSpec) -> None:
    """Forget an earlier ending if this call asks for more than the one that it ended.

    ``look`` then decides anew. A search that had settled stays ended for as long as nothing but
    the same is asked for: neither more trials, nor to go on regardless.
    """
    kept = ending_of(study)
    if kept is None:
        return
    settled = kept.kind == "settled" and asked.stop_when_settled
    if not (settled and asked.trials <= kept.total):
        study.set_user_attr(ENDING, None)


def begun(trials: Sequence[FrozenTrial]) -> int:
    """How many trials were begun: slots are taken in their order."""
    return 1 + max((one.number for one in trials if _was_begun(one)), default=-1)


def _was_begun(trial: FrozenTrial) -> bool:
    # One that was put back waits again, and keeps what was suggested for it.
    return trial.state != TrialState.WAITING or bool(trial.params)


def _call_off(study: optuna.Study, trials: Sequence[FrozenTrial], ending: Ending) -> None:
    if study.user_attrs.get(ENDING) is None:
        study.set_user_attr(ENDING, asdict(ending))
    if study.user_attrs.get(TOTAL) != begun(trials):
        study.set_user_attr(TOTAL, begun(trials))
