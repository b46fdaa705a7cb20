"""The search as a library: runs trials of any objective function until a stop condition holds.

The sampler and pruner are those of ``sweeper run``, or Optuna's; the objective may be a table of
recorded trials, a formula, or a training loop. Trials run one after another, in memory.
``sweeper run`` does not use this module: see ``sweeper.search.search``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.objective import Limit
from sweeper.plans import Configuration, Space, StrategySpace, TrialBudget
from sweeper.search.cost_model.trial_costs import NOTHING, TrialCosts, Untrained, lowest_final
from sweeper.search.search import Search
from sweeper.search.study_end import gains_too_little
from sweeper.spec import Scalar
from sweeper.trials import Failure, FailureKind, RungReport, State, TrialResult, so_far

__all__ = [
    "Configuration",
    "Diverged",
    "Objective",
    "RungReport",
    "SearchResult",
    "Space",
    "StopCondition",
    "StrategySpace",
    "TrialBudget",
    "TrialCosts",
    "search",
]


@dataclass(frozen=True)
class StopCondition:
    """When a search ends: after a number of trials or reported seconds, or at a target loss.

    With ``while_worth_it`` it also ends when the expected gain of more trials is small beside the
    difference between two seeds.
    """

    trials: int = 20
    seconds: float = math.inf
    target_loss: float = -math.inf
    while_worth_it: bool = False


class Diverged(Exception):
    """An objective raises it when its loss is no longer finite."""


Objective = Callable[[str, dict[str, Scalar]], Generator[RungReport, None, float | None]]


@dataclass(frozen=True)
class SearchResult:
    """All trials in their order, and the reason for the end of the search."""

    trials: tuple[TrialCosts, ...]
    because: str

    @property
    def best(self) -> TrialCosts | None:
        """The completed trial within the limits that has the lowest cost."""
        done = [(trial.final, trial) for trial in self.trials if trial.final is not None]
        return min(done, key=lambda pair: pair[0], default=(None, None))[1]

    @property
    def seconds(self) -> float:
        """Seconds of all trials together."""
        return sum(trial.seconds for trial in self.trials)


def search(
    space: Space,
    objective: Objective,
    stop: StopCondition | None = None,
    *,
    starts: Sequence[Configuration] | None = None,
    sampler: str = "sweeper",
    pruner: str = "sweeper",
    untrained: Untrained = NOTHING,
    limits: Sequence[Limit] = (),
) -> SearchResult:
    """Run trials until the stop condition holds, and return them all.

    Args:
        space: A ``Space``; a ``Plan`` is one.
        objective: Function of a candidate's key and parameters; yields a ``RungReport`` at each
            rung and may return the final value (by default the best reported one). A trial
            without a value fails. The last report has the seconds and measures of the trial. The
            generator is closed if the pruner ends the trial, and may raise ``Diverged``.
        stop: When the search ends; after twenty trials if None.
        starts: The first trials; the strategies' defaults if None.
        sampler: Name of the sampler, as in ``sweeper.search.named``.
        pruner: Name of the pruner, as in ``sweeper.search.named``.
        untrained: Costs of untrained models, by model (``""`` if the space names no models).
        limits: Limits on measures of the reports.

    Raises:
        SpecError: The sampler or pruner cannot be created.
    """
    if starts is None:
        starts = [Configuration.taken_from(each, parameters={}) for each in space.candidates]
    stop = stop or StopCondition()
    running = Search(space, starts, sampler, pruner, untrained, limits)
    while not (reason := _end_reason(running, stop)):
        trial = running.ask()
        generator = objective(space.key(trial), trial.parameters)
        running.tell(trial.number, _run_trial(running, trial.number, generator))
    return SearchResult(tuple(running.trials), reason)


def _end_reason(running: Search, stop: StopCondition) -> str:
    """The reason for the end of the search; empty while it goes on."""
    if len(running.trials) >= stop.trials:
        return f"{stop.trials} trials have ended"
    if sum(trial.seconds for trial in running.trials) >= stop.seconds:
        return f"{stop.seconds:g} seconds are spent"
    if lowest_final(running.trials) <= stop.target_loss:
        return f"the loss of {stop.target_loss:g} is reached"
    return gains_too_little(running) if stop.while_worth_it else ""


def _run_trial(
    running: Search, number: int, generator: Generator[RungReport, None, float | None]
) -> TrialResult:
    """Run one trial to its end, and return its result."""

    def ended(state: State, **fields: Any) -> TrialResult:
        spent = so_far([*running.trials[number].reports.values()])
        return TrialResult(number=number, state=state, **spent, **fields)

    def failed(kind: FailureKind, why: str) -> TrialResult:
        return ended("FAIL", failure=Failure(kind=kind, detail=why))

    try:
        while True:
            report = next(generator)
            decision = running.report(number, report)
            if not math.isfinite(report.validation_loss):
                text = f"its loss at rung {report.rung} is {report.validation_loss}"
                return failed("diverged", text)
            if decision.prune:
                why = decision.because
                return ended("PRUNED", pruned_at_rung=report.rung, pruned_because=why)
    except StopIteration as end:
        target, reports = running.objective, [*running.trials[number].reports.values()]
        reported = [v for report in reports if (v := target.measured(report)) is not None]
        value = min(reported, key=target.cost, default=None) if end.value is None else end.value
        if value is None:
            return failed("error", "the objective reported and returned no value")
        if not math.isfinite(value):
            return failed("diverged", f"its final value is {value}")
        field = "validation_loss" if target.is_loss else "objective"
        measures = reports[-1].measures if reports else {}
        return ended("COMPLETE", measures=measures, **{field: float(value)})
    except Diverged as error:
        return failed("diverged", str(error))
    finally:
        generator.close()
