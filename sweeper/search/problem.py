"""The search problem: a plan, or a space without one.

Also how long a trial trains: the whole budget, or so many of its rungs as its epochs take. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeper.hyperparameters import EPOCHS
from sweeper.objective import LOSS, Objective
from sweeper.plans import Budget, Candidate, Hint, Parameter, Plan
from sweeper.spec import OwnTrial, Scalar


@dataclass(frozen=True)
class StrategySpace:
    """One way to train, with what can be chosen about it.

    Args:
        parameters: By name. A parameter with a condition comes after the one that it names.
        score: What is thought of it beforehand; breaks ties between strategies.
        seconds_per_trial: What a full trial is expected to cost.
        model: Told apart by this where two share a name.
        begins_as_base: Whether a trial that has not moved yet is the base model, of which
            ``Untrained`` may know the loss.
        one_trial: Whether one trial is all of it: a head on the frozen base, in closed form.
    """

    strategy: str
    parameters: Mapping[str, Parameter]
    score: float = 0.0
    seconds_per_trial: float = 1.0
    model: str = ""
    begins_as_base: bool = False
    one_trial: bool = False


@dataclass(frozen=True)
class RungCount:
    """The number of rungs, and the first rung at which a trial may be pruned.

    Where a parameter ``num_train_epochs`` is searched, ``epochs`` is what takes all rungs: a trial
    with half of them has half of the rungs.
    """

    rungs: int = 8
    first_rung: int = 2
    epochs: float | None = None


@dataclass(frozen=True)
class Space:
    """The space, the budget and the seed of a search.

    Args:
        budget: Rungs of a full trial.
        own_trials: Configurations whose values may lie outside of the allowed ranges.
        hints: What earlier searches found best, one for each candidate at most.
    """

    candidates: Sequence[StrategySpace]
    budget: RungCount = RungCount()
    seed: int = 0
    own_trials: Sequence[OwnTrial] = ()
    hints: Sequence[Hint] = ()


Problem = Plan | Space
AnyCandidate = Candidate | StrategySpace
Full = Budget | RungCount


def objective_of(problem: Problem) -> Objective:
    """What the search improves; a space without a plan has a loss."""
    return problem.objective if isinstance(problem, Plan) else LOSS


def rungs_of(parameters: Mapping[str, Scalar], full: Full) -> int:
    """How many rungs of a full budget a trial with these parameters has.

    At least one, and no more than there are.
    """
    epochs = parameters.get(EPOCHS)
    if epochs is None or not full.epochs:
        return full.rungs
    return min(full.rungs, max(1, round(full.rungs * float(epochs) / full.epochs)))
