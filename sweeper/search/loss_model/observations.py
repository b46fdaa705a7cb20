"""The trials so far, in the form that sampler and pruner use.

A study keeps values of its objective, in its own direction. Here all of them are costs, of which
the lowest is best.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeper.constraints import is_beyond, order
from sweeper.objective import LOSS, Objective
from sweeper.plans import RungCount
from sweeper.search.optuna_space import STRATEGY, rungs_of
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

START = "head_init"

# Trial attributes. Plain Optuna code and dashboards show them as they are.
ORIGIN = "sweeper:origin"
FAILURE = "sweeper:failure"
SECONDS = "sweeper:seconds"
# The validation loss, where the objective is another.
VALIDATION_LOSS = "sweeper:validation_loss"
# Likewise at each rung, where the objective is measured there too.
RUNG_LOSS = "sweeper:validation_loss:"
# A system attribute, as Optuna's `set_constraint` writes it. Up to 0 a trial keeps to the limit;
# `best_trial` and Optuna's samplers see it.
CONSTRAINT = "constraints:limits"
_ITEMS = "sweeper:items:"

# Failures that say something about the configuration; the others are the machine's.
_TELLING = frozenset({"diverged", "out-of-memory"})


@dataclass(frozen=True)
class Observation:
    """One trial.

    Args:
        key: Its candidate.
        parameters: Those that were suggested, by plain name.
        cost: Of a completed trial at its end, of a pruned one at its last rung, else None.
        complete: Whether it was trained to the end.
        running: Whether it runs now.
        failed: Whether it failed in a way that its configuration is to blame for.
        origin: ``default``, ``user``, ``search`` or ``untrained``.
        curve: Lowest finite cost so far, by rung.
        reported: The costs as they were reported, by rung.
        seconds: What it took, 0 where that is not known.
        excess: How far it is over the user's limit, up to 0 where it keeps to it; None where
            there is no limit or nothing was measured.
        items: The first validation items at each rung, where that was told.
        rungs: How many it has when it trains to its end.
    """

    number: int
    key: str
    parameters: dict[str, Scalar]
    cost: float | None
    complete: bool
    running: bool
    failed: bool
    origin: str
    curve: dict[int, float] = field(default_factory=dict)
    reported: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    excess: float | None = None
    items: dict[int, FirstItems] = field(default_factory=dict)
    rungs: int = 8

    def has(self, rung: int) -> bool:
        """Whether a finite cost was reported at a rung."""
        return math.isfinite(self.reported.get(rung, math.inf))

    @property
    def keeps(self) -> bool:
        """Whether it is within the limit, as far as known."""
        return not is_beyond(self.excess)

    @cached_property
    def group(self) -> tuple[str, Scalar | None]:
        """Strategy and start: curves are compared within these, as those of others cross them."""
        return self.key, self.parameters.get(START)

    @cached_property
    def best_rung(self) -> int | None:
        """The rung with the lowest cost on the same items; None without a rung."""
        costs = {
            rung: self.items[rung].loss if rung in self.items else cost
            for rung, cost in self.reported.items()
            if math.isfinite(cost)
        }
        return min(costs, key=lambda rung: (costs[rung], rung)) if costs else None

    @cached_property
    def easier(self) -> float | None:
        """Its cost on all items minus that on the rungs' items, if known."""
        if not self.complete or self.cost is None or not self.items:
            return None
        if self.rungs in self.items and self.rungs in self.reported:
            return self.reported[self.rungs] - self.items[self.rungs].loss
        # It completed before its last rung, with the weights of its best one.
        return self.cost - min(one.loss for one in self.items.values())

    @cached_property
    def rank(self) -> tuple[bool, float, float, float]:
        """A sort key, best first: completed trials in their order under limits, then pruned ones
        by their last rung."""
        cost = math.inf if self.cost is None else self.cost
        if self.complete:
            return False, *order(cost, self.excess)
        return True, -max(self.curve, default=0), cost, 0.0


@dataclass
class History:
    """Observations of a study that grows. A trial that has not changed is not read again.

    Args:
        full: The study's full budget.
        objective: What the study's values are.
        by_loss: Whether to see validation losses in place of the objective's costs.
    """

    full: RungCount
    objective: Objective = LOSS
    by_loss: bool = False
    _trials: Sequence[FrozenTrial] = ()
    _open: Sequence[int] = ()
    _seen: dict[int, Observation] = field(default_factory=dict)
    _by_key: dict[str, dict[int, Observation]] = field(default_factory=dict)

    def of(self, trials: Sequence[FrozenTrial]) -> list[Observation]:
        """All trials of the study that have a strategy, in the order in which they got it.

        Args:
            trials: From number 0 on. Storages replace a trial that changes by another object, and
                change none that has ended.
        """
        if self._is_other(trials):
            self._trials, self._open, self._seen, self._by_key = (), (), {}, {}
        known = len(self._trials)
        changed = [number for number in self._open if trials[number] is not self._trials[number]]
        for number in (*changed, *range(known, len(trials))):
            if STRATEGY in trials[number].params:
                one = observation(trials[number], self.full, self.objective, self.by_loss)
                self._seen[number] = self._by_key.setdefault(one.key, {})[number] = one
        still = (*self._open, *range(known, len(trials)))
        self._open = [number for number in still if not trials[number].state.is_finished()]
        self._trials = trials
        seen = list(self._seen.values())
        return seen if self.by_loss or self.objective.at_rungs else as_costs(seen)

    def _is_other(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these trials belong to another study than the last ones."""
        if len(trials) < len(self._trials):
            return True
        ended = (number for number in range(len(self._trials)) if number not in self._open)
        first = next(ended, None)
        return first is not None and trials[first] is not self._trials[first]

    def beside(self, own: Observation) -> list[Observation]:
        """The other trials of a candidate, of those that were given last."""
        known = self._by_key.get(own.key, {}).items()
        return [one for number, one in known if number != own.number]


def observation(
    trial: FrozenTrial, full: RungCount, objective: Objective = LOSS, by_loss: bool = False
) -> Observation:
    """One trial as an observation.

    Args:
        full: The study's full budget.
        objective: What the study's values are.
        by_loss: Whether to see validation losses in place of the objective's costs.
    """
    key = str(trial.params[STRATEGY])
    prefix = f"{key}."
    complete = trial.state == TrialState.COMPLETE
    ended = complete or trial.state == TrialState.PRUNED
    reported = {rung: objective.at_rung(v) for rung, v in trial.intermediate_values.items()}
    cost = trial.value if ended and trial.values else None
    if cost is not None:
        cost = objective.cost(cost) if complete else objective.at_rung(cost)
    if by_loss and complete:
        cost = trial.user_attrs.get(VALIDATION_LOSS)
    parameters = {
        name.removeprefix(prefix): value
        for name, value in trial.params.items()
        if name.startswith(prefix)
    }
    return Observation(
        number=trial.number,
        key=key,
        parameters=parameters,
        cost=cost,
        complete=complete,
        running=trial.state == TrialState.RUNNING,
        failed=trial.state == TrialState.FAIL and trial.user_attrs.get(FAILURE) in _TELLING,
        origin=str(trial.user_attrs.get(ORIGIN, "search")),
        curve=best_so_far(reported),
        reported=reported,
        items=noted_items(trial.user_attrs),
        seconds=float(trial.user_attrs.get(SECONDS, 0.0)),
        excess=_finite(trial.system_attrs.get(CONSTRAINT)) if ended else None,
        rungs=rungs_of(parameters, full),
    )


# A straight line through fewer completed trials says nothing.
_FEWEST_COMPLETE = 3


def as_costs(seen: Sequence[Observation]) -> list[Observation]:
    """Trials whose rungs tell losses and whose ends tell costs, all in costs.

    A pruned trial has a loss alone. It counts with the cost that the completed trials have at that
    loss, by a straight line (never a falling one) through them; while they are too few for a line,
    with the highest of theirs. So do the losses of curves.
    """
    known = [
        (min(one.curve.values()), one.cost)
        for one in seen
        if one.complete and one.cost is not None and one.curve
    ]
    costs = [cost for _, cost in known]

    def cost_at(loss: float) -> float:
        if len(known) < _FEWEST_COMPLETE or len({early for early, _ in known}) < 2:
            return max(costs)
        line = statistics.linear_regression(*zip(*known, strict=True))
        return statistics.fmean(costs) + max(0.0, line.slope) * (
            loss - statistics.fmean(early for early, _ in known)
        )

    if not costs:
        return [replace(one, curve={}, reported={}, items={}) for one in seen]
    return [
        replace(
            one,
            cost=one.cost if one.complete or one.cost is None else cost_at(one.cost),
            curve={rung: cost_at(loss) for rung, loss in one.curve.items()},
            reported={rung: cost_at(loss) for rung, loss in one.reported.items()},
            items={},
        )
        for one in seen
    ]


def rung_losses(trial: FrozenTrial, objective: Objective) -> dict[int, float]:
    """The validation losses that a trial reported, whatever its objective is."""
    if objective.is_loss or not objective.at_rungs:
        return {rung: objective.at_rung(v) for rung, v in trial.intermediate_values.items()}
    return {
        int(name.removeprefix(RUNG_LOSS)): float(loss)
        for name, loss in trial.user_attrs.items()
        if name.startswith(RUNG_LOSS)
    }


def _finite(excess: float | None) -> float | None:
    # A limit of infinity is none.
    return excess if excess is not None and math.isfinite(excess) else None


def best_so_far(losses: dict[int, float]) -> dict[int, float]:
    """The lowest finite loss up to each rung; its best one counts in the end."""
    lowest = math.inf
    curve: dict[int, float] = {}
    for rung in sorted(losses):
        if math.isfinite(losses[rung]):
            lowest = min(lowest, losses[rung])
        if math.isfinite(lowest):
            curve[rung] = lowest
    return curve


def attribute(rung: int, items: FirstItems) -> tuple[str, dict[str, Any]]:
    """The trial attribute that keeps a rung's items."""
    return f"{_ITEMS}{rung}", items.model_dump(mode="json")


def noted_items(attributes: Mapping[str, Any]) -> dict[int, FirstItems]:
    """The items in a trial's attributes, by rung."""
    # Read at every look at the study, so what was written from the same type is not checked again.
    return {
        int(name.removeprefix(_ITEMS)): FirstItems.model_construct(
            **{**kept, "each": tuple(kept["each"])}
        )
        for name, kept in attributes.items()
        if name.startswith(_ITEMS)
    }
