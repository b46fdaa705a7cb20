"""The search as a library: a space with priors, an objective that reports rungs, a stop condition.

The same sampler and pruner as ``sweeper run``, or any of Optuna's, over any objective
function: a table of recorded trials, a formula, or a training loop. One trial at a
time, in memory. ``sweeper run`` does not use it: see ``sweeper.search.search``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeper import objective as objectives
from sweeper.constraints import Limit, cost_within
from sweeper.plans import Configuration, Space, StrategySpace, TrialBudget
from sweeper.search.cost_model.untrained import NOTHING, Untrained
from sweeper.search.search import Search
from sweeper.search.study_end import gains_too_little
from sweeper.spec import Scalar
from sweeper.trials import Failure, RungReport, State, TrialResult, so_far

__all__ = [
    "Configuration",
    "Diverged",
    "EndedTrial",
    "Objective",
    "RungReport",
    "Searched",
    "Space",
    "StopCondition",
    "StrategySpace",
    "TrialBudget",
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


Objective = Callable[[str, dict[str, Scalar]], Generator[RungReport, None, float | None]]


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended: its parameters, its reports and its result."""

    trial: Configuration
    reports: tuple[RungReport, ...]
    result: TrialResult


@dataclass(frozen=True)
class Searched:
    """All trials in their order, and the reason for the end of the search."""

    trials: tuple[EndedTrial, ...]
    because: str
    objective: objectives.Objective = objectives.LOSS
    limits: tuple[Limit, ...] = ()

    @property
    def best(self) -> EndedTrial | None:
        """The completed trial within the limits that has the lowest cost."""
        done = [trial for trial in self.trials if math.isfinite(self.cost(trial))]
        return min(done, key=self.cost, default=None)

    def cost(self, trial: EndedTrial) -> float:
        """The cost of a completed trial within the limits; infinite for others."""
        cost = cost_within(trial.result, self.objective, self.limits)
        return math.inf if cost is None else cost

    @property
    def seconds(self) -> float:
        """Seconds of all trials together."""
        return sum(trial.result.seconds for trial in self.trials)


def search(
    space: Space,
    objective: Objective,
    limit: StopCondition | None = None,
    *,
    starts: Sequence[Configuration] | None = None,
    sampler: str = "sweeper",
    pruner: str = "sweeper",
    untrained: Untrained = NOTHING,
    limits: Sequence[Limit] = (),
) -> Searched:
    """Search until the limit.

    Args:
        space: A ``Space``; a ``Plan`` is one.
        objective: Called with a strategy and its parameters; yields a ``RungReport`` at each rung
            and may return the final value (by default the best one that it yielded). Seconds and
            measures of the last report are those of the trial. It is closed if the pruner ends
            the trial, and may raise ``Diverged``.
        limit: Twenty trials by default.
        starts: The first trials; the strategies' defaults if None.
        sampler: ``sweeper``, ``optuna:TPESampler``, ``package.module:Class``, with options in
            brackets.
        pruner: Likewise.
        untrained: Costs that are known before any trial, by model (``""`` if strategies have
            none): of the base model, and of a linear head on it, for trials that may
            start from that head (``head_init`` of ``probe``).
        limits: Limits on measures of the reports.

    Raises:
        SpecError: The sampler or pruner cannot be created.
    """
    if starts is None:
        starts = [Configuration.taken_from(each, parameters={}) for each in space.candidates]
    stop = limit or StopCondition()
    running = Search(space, starts, sampler, pruner, untrained, limits)
    searched = Searched((), "", running.objective, tuple(limits))
    while not (reason := _ended(running, stop, searched)):
        trial, reports = running.ask(), list[RungReport]()
        steps = objective(space.key(trial), trial.parameters)
        result = _follow(running, trial.number, steps, reports)
        running.tell(trial.number, result)
        ended = EndedTrial(trial, tuple(reports), result)
        searched = replace(searched, trials=(*searched.trials, ended))
    return replace(searched, because=reason)


def _ended(running: Search, stop: StopCondition, searched: Searched) -> str:
    """The reason for the end of the search; empty while it goes on."""
    if len(searched.trials) >= stop.trials:
        return f"{stop.trials} trials have ended"
    if searched.seconds >= stop.seconds:
        return f"{stop.seconds:g} seconds are spent"
    if min(map(searched.cost, searched.trials), default=math.inf) <= stop.target_loss:
        return f"the loss of {stop.target_loss:g} is reached"
    return gains_too_little(running) if stop.while_worth_it else ""


def _follow(
    running: Search,
    number: int,
    steps: Generator[RungReport, None, float | None],
    reports: list[RungReport],
) -> TrialResult:
    def ended(state: State, **fields: Any) -> TrialResult:
        spent = so_far(reports)
        return TrialResult(number=number, state=state, **spent, **fields)

    def diverged(why: str) -> TrialResult:
        return ended("FAIL", failure=Failure(kind="diverged", detail=why))

    try:
        while True:
            report = next(steps)
            reports.append(report)
            if not math.isfinite(report.validation_loss):
                return diverged(f"its loss at rung {report.rung} is {report.validation_loss}")
            decision = running.report(number, report)
            if decision.prune:
                rung, why = report.rung, decision.because
                return ended("PRUNED", pruned_at_rung=rung, pruned_because=why)
    except StopIteration as end:
        target = running.objective
        best = min(reports, key=lambda rung: target.cost_of(rung) or 0.0)
        value = target.measured(best) if end.value is None else float(end.value)
        field = "validation_loss" if target.is_loss else "objective"
        return ended("COMPLETE", measures=reports[-1].measures, **{field: value})
    except Diverged as error:
        return diverged(str(error))
    finally:
        steps.close()
