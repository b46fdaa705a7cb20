"""Recorded tasks as something to search: a configuration in, a curve with noise and costs out.

Half A of the validation items is all that a method sees; half B is kept to judge it by. In a world
of recorded trials each seed draws the halves anew, and which of the trials that repeat a
configuration is met. Knows nothing of methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmarks.search.costs import Costs
from benchmarks.search.table import Baseline, Floats, Recorded, Table
from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.cost_model.axes import Axis, ChoiceAxis, axis_of
from sweeper.search.cost_model.trial_costs import Untrained
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

# More items than any task validates on.
HALVED = 10_000


@dataclass(frozen=True)
class Realised:
    """What a trial would show.

    Args:
        losses: At each rung on the first items of half A; infinite from where it fails.
        seconds: Since the trial's start at each rung.
        items: Final loss of each validation item; None where it fails.
        truth: Final loss without noise.
        scored: The first items of half A at each rung, where that was recorded.
        ends_at: The rung of the last loss; the last of a full budget where this is None.
    """

    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    items: Floats | None
    truth: float
    scored: tuple[FirstItems, ...] = ()
    ends_at: int | None = None

    @property
    def first_half(self) -> float:
        """Final loss on half A."""
        return math.inf if self.items is None else float(self.items[0::2].mean())

    @property
    def second_half(self) -> float:
        """Final loss on half B."""
        return math.inf if self.items is None else float(self.items[1::2].mean())


def scored_items(plan: Plan) -> list[int]:
    """How many validation items the product scores at each rung."""
    whole = next(split.rows for split in plan.facts.data.splits if split.name == "validation")
    few = min(plan.budget.rung_items or whole, whole)
    return [few if is_scored(plan, rung) else 0 for rung in range(1, plan.budget.rungs)] + [whole]


def is_scored(plan: Plan, rung: int) -> bool:
    """Whether the product scores a trial at that rung."""
    return rung == plan.budget.rungs or rung % plan.budget.rung_every == 0


def axes_of(plan: Plan, key: str) -> dict[str, Axis | ChoiceAxis]:
    """The searched parameters of a strategy."""
    known = optuna_space.distributions(plan)
    parameters = plan.keyed[key].parameters
    return {
        name: axis_of(name, parameter, known[f"{key}.{name}"])
        for name, parameter in parameters.items()
        if parameter.searched
    }


def _point(axes: Mapping[str, Axis | ChoiceAxis], parameters: Mapping[str, Scalar]) -> Floats:
    """A configuration in the unit cube; choices count as numbers."""
    return np.asarray([_unit(axis, parameters.get(name)) for name, axis in axes.items()])


def _unit(axis: Axis | ChoiceAxis, value: Scalar | None) -> float:
    if value is None:
        return 0.5
    if isinstance(axis, Axis):
        return axis.unit(value)
    if all(isinstance(choice, int) for choice in axis.choices):  # batch sizes: powers of two
        logs = [math.log(float(choice)) for choice in axis.choices]
        return (math.log(float(value)) - min(logs)) / max(max(logs) - min(logs), 1e-9)
    return axis.choices.index(value) / max(len(axis.choices) - 1, 1)


@dataclass(frozen=True)
class Ground:
    """What all replays of a task share: its table and costs."""

    table: Table
    costs: Costs

    @classmethod
    def of(cls, table: Table) -> Ground:
        """Calibrate."""
        return cls(table, Costs.of(table))


def _width(table: Table) -> int:
    return max((one.items.shape[1] for one in table.trials if one.items.size), default=0)


def rung_losses(world: TableWorld, one: Recorded) -> list[float]:
    """A recorded trial's losses on the rung items of half A, infinite from where it failed.

    The end comes last, but for trials that ended early with the weights of their best rung.
    """
    rungs = world.plan.budget.rungs_of(one.parameters)
    width = _width(world.ground.table)
    seen = [float(world.halved(row[:width])[0::2].mean()) for row in one.items]
    if one.complete and len(one.steps) < rungs:
        return seen
    seen += [math.inf] * (rungs - 1 - len(seen))
    return [*seen, float(world.halved(one.final)[0::2].mean()) if one.complete else math.inf]


@dataclass
class TableWorld:
    """Recorded trials themselves: the nearest one of the strategy that was not used yet.

    Args:
        ground: The task.
        seed: Of the replay.
    """

    ground: Ground
    seed: int
    _used: set[int] = field(default_factory=set)

    @property
    def plan(self) -> Plan:
        return self.ground.table.plan

    @property
    def unit(self) -> float:
        """Seconds of one full trial of the first default."""
        first = self.plan.candidates[0]
        items = scored_items(self.plan)
        return self.ground.costs.seconds(first.strategy, first.defaults(), items)[-1]

    @property
    def untrained(self) -> Untrained:
        """What the product's baselines say before any trial, on half A."""
        table = self.ground.table
        return Untrained(self._half_a(table.probe), self._half_a(table.base))

    @property
    def baseline_seconds(self) -> float:
        """What these baselines cost."""
        table = self.ground.table
        return sum(one.seconds for one in (table.probe, table.base) if one is not None)

    def _half_a(self, known: Baseline | None) -> dict[str, float]:
        if known is None:
            return {}
        return {self.plan.candidates[0].model: float(self.halved(known.final)[0::2].mean())}

    def halved(self, items: Floats) -> Floats:
        """Items so that those of half A stand at even places: of each pair one, by the seed."""
        pairs = len(items) // 2
        swapped = np.random.default_rng([self.seed, 1]).random(HALVED)[:pairs] < 0.5
        order = np.arange(len(items))
        order[0 : 2 * pairs : 2] += swapped
        order[1 : 2 * pairs : 2] -= swapped
        return np.asarray(items[order])

    @cached_property
    def best(self) -> Realised:
        """What the best recorded trial shows."""
        return self._realise(self.best_trial)

    @cached_property
    def best_trial(self) -> Recorded:
        """The recorded trial with the lowest loss."""
        return min(self._met, key=lambda one: one.loss)

    @cached_property
    def _met(self) -> list[Recorded]:
        # Each configuration once, on one of the seeds that it was recorded with.
        repeats: dict[str, list[Recorded]] = {}
        for one in self.ground.table.trials:
            name = repr((one.strategy, sorted(one.parameters.items())))
            repeats.setdefault(name, []).append(one)
        generator = np.random.default_rng([self.seed, 2])
        return [ones[generator.integers(len(ones))] for ones in repeats.values()]

    def trial(self, strategy: str, parameters: Mapping[str, Scalar]) -> Realised:
        """The trial; infinitely bad and free where all recorded ones are used up."""
        length = parameters.get(EPOCHS)
        pool = [
            one
            for one in self._met
            if one.strategy == strategy
            and one.index not in self._used
            and one.parameters.get(EPOCHS) == length
        ]
        if not pool:
            return Realised((math.inf,), (0.0,), None, math.inf)
        near = pool[0] if len(pool) == 1 else self._nearest(strategy, parameters, pool)
        self._used.add(near.index)
        return self._realise(near)

    def _nearest(
        self, key: str, parameters: Mapping[str, Scalar], pool: list[Recorded]
    ) -> Recorded:
        axes = axes_of(self.plan, key)
        at = _point(axes, parameters)
        return min(pool, key=lambda one: float(((_point(axes, one.parameters) - at) ** 2).sum()))

    def _realise(self, one: Recorded) -> Realised:
        plan, costs = self.plan, self.ground.costs
        ended = len(one.steps) if one.complete else None
        seconds = costs.seconds(one.strategy, one.parameters, scored_items(plan), ended)
        if one.strategy not in costs.item:
            items = self.halved(one.final)
            return Realised((float(items[0::2].mean()),), tuple(seconds[-1:]), items, one.loss)
        width = _width(self.ground.table)
        losses = rung_losses(self, one)
        final = self.halved(one.final) if one.complete else None
        seen = [self.halved(row[:width])[0::2] for row in (*one.items, one.final)]
        of = len(one.final) // 2
        scored = tuple(FirstItems.among(row.tolist(), of) for row in seen)
        return Realised(tuple(losses), tuple(seconds), final, one.loss, scored, len(losses))
