"""The search without training: a space with priors, an objective that reports rungs, a limit.

The same sampler and pruner as ``sweeper run``, or any of Optuna's, over whatever the objective
computes: a table of recorded trials, a formula, a training loop of one's own. One trial at a
time, in memory. ``sweeper run`` does not use it: see ``sweeper.search.search``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from sweeper.constraints import is_beyond
from sweeper.search import optuna_space
from sweeper.search.loss_model.observations import best_so_far
from sweeper.search.loss_model.untrained import NOTHING, Untrained
from sweeper.search.optuna_space import Problem, RungCount, Space, Start, StrategySpace
from sweeper.search.search import End, Rung, Search
from sweeper.search.study_end import gains_too_little
from sweeper.spec import Scalar
from sweeper.trials import State

__all__ = [
    "Diverged",
    "Objective",
    "Rung",
    "RungCount",
    "Searched",
    "Space",
    "StopCondition",
    "StrategySpace",
    "Tried",
    "search",
]


@dataclass(frozen=True)
class StopCondition:
    """When a search ends: at a number of trials, of seconds that trials report, or at a loss.

    With ``while_worth_it`` it also ends when more trials are expected to gain less than noise
    would show.
    """

    trials: int = 20
    seconds: float = math.inf
    target_loss: float = -math.inf
    while_worth_it: bool = False


class Diverged(Exception):
    """Raised by an objective whose loss is no longer finite."""


Objective = Callable[[str, dict[str, Scalar]], Generator[Rung, None, float | None]]


@dataclass(frozen=True)
class Tried:
    """How one trial ended.

    ``loss`` is the final loss of a completed trial; ``because`` says why another one ended.
    """

    number: int
    strategy: str
    parameters: dict[str, Scalar]
    state: State
    rungs: tuple[Rung, ...]
    loss: float | None
    seconds: float
    because: str = ""

    @property
    def keeps(self) -> bool:
        """Whether it is within the limit, if there is one."""
        return not is_beyond(self.rungs[-1].excess if self.rungs else None)


@dataclass(frozen=True)
class Searched:
    """All trials in their order, and what ended the search."""

    trials: tuple[Tried, ...]
    because: str

    @property
    def best(self) -> Tried | None:
        """The completed trial within the limit that has the lowest loss."""
        done = [one for one in self.trials if one.loss is not None and one.keeps]
        return min(done, key=lambda one: one.loss or 0.0, default=None)

    @property
    def seconds(self) -> float:
        """What all trials took together."""
        return sum(one.seconds for one in self.trials)


def search(
    problem: Problem,
    objective: Objective,
    limit: StopCondition | None = None,
    *,
    starts: Sequence[Mapping[str, Scalar]] | None = None,
    sampler: str = "sweeper",
    pruner: str = "sweeper",
    untrained: Untrained = NOTHING,
) -> Searched:
    """Search until the limit.

    Args:
        problem: A ``Space``, or a ``Plan``.
        objective: Called with a strategy and its parameters; yields a ``Rung`` at each rung and
            may return the final loss (else it is the lowest one that it yielded). The seconds and
            the excess of the last rung are those of the trial. It is closed where the pruner ends
            the trial, and may raise ``Diverged``.
        limit: Twenty trials by default.
        starts: What is tried first, as ``optuna_space.fixed`` makes it; the strategies' defaults
            where this is None.
        sampler: ``sweeper``, ``optuna:TPESampler``, ``package.module:Class``, with options in
            brackets.
        pruner: Likewise.
        untrained: Losses that are known before any trial, by model (``""`` where strategies name
            none): of the base model as it is, and of a linear head on it, for trials that may
            start from that (``head_init`` of ``probe``).

    Raises:
        SpecError: Sampler or pruner cannot be made.
    """
    if starts is None:
        keyed = optuna_space.candidates(problem)
        starts = [optuna_space.fixed(key, one, {}) for key, one in keyed.items()]
    known = [Start("default", fixed) for fixed in starts]
    stop, tried = limit or StopCondition(), list[Tried]()
    running = Search(problem, known, sampler, pruner, untrained)
    while not (because := _ended(running, stop, tried)):
        tried.append(_try(running, objective))
    return Searched(tuple(tried), because)


def _ended(running: Search, stop: StopCondition, tried: Sequence[Tried]) -> str:
    """The reason for the end of the search; empty while it goes on."""
    losses = [one.loss for one in tried if one.loss is not None and one.keeps]
    if len(tried) >= stop.trials:
        return f"{stop.trials} trials have ended"
    if sum(one.seconds for one in tried) >= stop.seconds:
        return f"{stop.seconds:g} seconds are spent"
    if min(losses, default=math.inf) <= stop.target_loss:
        return f"the loss of {stop.target_loss:g} is reached"
    return gains_too_little(running) if stop.while_worth_it else ""


def _try(running: Search, objective: Objective) -> Tried:
    asked, rungs = running.ask(), list[Rung]()
    steps = objective(asked.key, asked.parameters)
    state, loss, because = _follow(running, asked.number, steps, rungs)
    seconds = rungs[-1].seconds if rungs else 0.0
    excess = rungs[-1].excess if rungs and state == "COMPLETE" else None
    failure = "diverged" if state == "FAIL" else ""
    running.tell(asked.number, End(state, loss, seconds, failure, excess))
    final = loss if state == "COMPLETE" else None
    return Tried(
        asked.number, asked.key, asked.parameters, state, tuple(rungs), final, seconds, because
    )


def _follow(
    running: Search,
    number: int,
    steps: Generator[Rung, None, float | None],
    rungs: list[Rung],
) -> tuple[State, float | None, str]:
    try:
        while True:
            rung = next(steps)
            rungs.append(rung)
            if not math.isfinite(rung.loss):
                return "FAIL", None, f"its loss at rung {rung.rung} is {rung.loss}"
            decision = running.report(number, rung)
            if decision.prune:
                return "PRUNED", rung.loss, decision.because
    except StopIteration as end:
        lowest = min(best_so_far({one.rung: one.loss for one in rungs}).values())
        return "COMPLETE", lowest if end.value is None else float(end.value), ""
    except Diverged as error:
        return "FAIL", None, str(error)
    finally:
        steps.close()
