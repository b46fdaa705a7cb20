"""Recorded tasks as something to search: a configuration in, a curve with noise and costs out.

Half A of the validation items is all that a method sees; half B is kept to judge it by. In a world
of recorded trials each seed draws the halves anew, and which of the trials that repeat a
configuration is met. Knows nothing of methods.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from benchmarks.search.costs import Costs
from benchmarks.search.curvemodel import Coordinates, CurveModel
from benchmarks.search.design import Design
from benchmarks.search.table import Baseline, Floats, Recorded, Table
from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Axis, ChoiceAxis, axis_of
from sweeper.search.loss_model.untrained import NOTHING, Untrained
from sweeper.search.optuna_space import rungs_of
from sweeper.search.pruner import guessing_loss
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

# Losses above this many times that of guessing are all just bad.
BAD_FACTOR = 1.5
# Fresh configurations, beside the recorded ones, among which the best known is looked for.
POOL = 4000
# More items than any task validates on.
HALVED = 10_000
# Fewer recorded trials of a strategy are no ground to model it on.
FEWEST_TRIALS = 20


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


@dataclass(frozen=True)
class Beforehand:
    """What the product's baselines say before any trial: losses on half A, and their cost."""

    untrained: Untrained = NOTHING
    seconds: float = 0.0


class World(Protocol):
    """One task in one replay."""

    @property
    def plan(self) -> Plan: ...
    @property
    def best(self) -> Realised: ...
    @property
    def guessing(self) -> float: ...
    @property
    def beforehand(self) -> Beforehand: ...
    @property
    def unit(self) -> float:
        """Seconds of one full trial of the first default."""
        ...

    def trial(self, strategy: str, parameters: Mapping[str, Scalar]) -> Realised: ...


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
    parameters = optuna_space.candidates(plan)[key].parameters
    return {
        name: axis_of(name, parameter, known[f"{key}.{name}"])
        for name, parameter in parameters.items()
        if parameter.searched
    }


def seen_losses(
    one: Recorded, rungs: int, items: int, order: Callable[[Floats], Floats] = np.asarray
) -> list[float]:
    """A recorded trial's losses on the rung items of half A, infinite from where it failed.

    One that ended early, with its best rung's weights, has none of its end among them.
    """
    seen = [float(order(row[:items])[0::2].mean()) for row in one.items]
    if one.complete and len(one.steps) < rungs:
        return seen
    seen += [math.inf] * (rungs - 1 - len(seen))
    return [*seen, float(order(one.final)[0::2].mean()) if one.complete else math.inf]


def too_few(table: Table) -> dict[str, int]:
    """Recorded trials of each strategy that has too few to be modelled."""
    counts = {
        key: len(table.of(key))
        for key, one in optuna_space.candidates(table.plan).items()
        if optuna_space.searchable(one)
    }
    return {key: count for key, count in counts.items() if count < FEWEST_TRIALS}


@dataclass(frozen=True)
class Ground:
    """What all replays of a task share: its table, costs and curve models."""

    table: Table
    costs: Costs

    @classmethod
    def of(cls, table: Table) -> Ground:
        """Calibrate."""
        return cls(table, Costs.of(table))

    @cached_property
    def models(self) -> dict[str, CurveModel]:
        """One of each searched strategy. They know trials of one length only."""
        table, models = self.table, {}
        for key, one in optuna_space.candidates(table.plan).items():
            trials = table.of(key)
            if optuna_space.searchable(one) and len(trials) >= FEWEST_TRIALS:
                curves = log_curves(table, trials)
                models[key] = CurveModel.fit(trials, curves, axes_of(table.plan, key))
        return models

    @cached_property
    def noise(self) -> Floats:
        """What two seeds of one configuration differ by; shape ``(pairs, rungs)``."""
        return _noise(self.table)

    @cached_property
    def best(self) -> tuple[str, dict[str, Scalar]]:
        """The best of a pool that no method chose: by its loss without noise."""
        design = Design(self.table.plan, f"pool of {self.table.name}")
        planned = [design.planned(index) for index in range(6, 6 + POOL)]
        pool = [(one.strategy, one.parameters) for one in planned]
        pool += [(one.strategy, one.parameters) for one in self.table.trials if one.complete]
        found: tuple[float, str, dict[str, Scalar]] | None = None
        for key in optuna_space.candidates(self.table.plan):
            mine = [parameters for strategy, parameters in pool if strategy == key]
            ends = self.truths(key, mine)
            position = int(np.argmin(ends))
            if found is None or ends[position] < found[0]:
                found = (float(ends[position]), key, dict(mine[position]))
        assert found is not None
        return found[1:]

    def truths(self, key: str, configurations: Sequence[Mapping[str, Scalar]]) -> Floats:
        """Final losses without noise."""
        if key in self.models:
            return np.exp(self.models[key].predict(configurations)[:, -1])
        return np.full(len(configurations), self.table.of(key)[0].loss)


def log_curves(table: Table, trials: Sequence[Recorded]) -> Floats:
    """Log losses on half A at the rungs, and on all items at the end; bad ones are cut."""
    bad = BAD_FACTOR * guessing_loss(table.plan)
    items = table.plan.budget.rung_items
    rows = [
        [*seen_losses(one, table.rungs, max(items, _width(table)))[:-1], one.loss] for one in trials
    ]
    return np.asarray(np.log(np.minimum(rows, bad)))


def _width(table: Table) -> int:
    return max((one.items.shape[1] for one in table.trials if one.items.size), default=0)


def rung_losses(world: TableWorld, one: Recorded) -> list[float]:
    """A recorded trial's losses at its rungs as a replay shows them, the end last."""
    rungs = rungs_of(one.parameters, world.plan.budget)
    return seen_losses(one, rungs, _width(world.ground.table), world.halved)


def _noise(table: Table) -> Floats:
    # Half of what two seeds of one configuration differ by, in log losses; shape (pairs, rungs).
    first: dict[str, Recorded] = {}
    pairs = []
    for one in table.trials:
        key = repr((one.strategy, sorted(one.parameters.items())))
        if key in first and one.complete and first[key].complete:
            two = log_curves(table, [one, first[key]])
            if (two[:, -1] < math.log(guessing_loss(table.plan))).all():
                pairs.append((two[0] - two[1]) / math.sqrt(2))
        first.setdefault(key, one)
    return np.asarray(pairs) if pairs else np.zeros((1, table.rungs))


@dataclass
class _Recorded:
    """What both worlds of a recorded task share."""

    ground: Ground
    seed: int

    @property
    def plan(self) -> Plan:
        return self.ground.table.plan

    @property
    def guessing(self) -> float:
        return guessing_loss(self.plan)

    @property
    def unit(self) -> float:
        first = self.plan.candidates[0]
        items = scored_items(self.plan)
        return self.ground.costs.seconds(first.strategy, first.defaults(), items)[-1]

    @property
    def beforehand(self) -> Beforehand:
        table = self.ground.table
        probes, bases = self._half_a(table.probe), self._half_a(table.base)
        seconds = sum(one.seconds for one in (table.probe, table.base) if one is not None)
        return Beforehand(Untrained(probes, bases), seconds)

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


@dataclass
class ModelWorld(_Recorded):
    """Configurations answered by the curve models, with the noise of seeds and items.

    Args:
        ground: The task.
        seed: Of the replay.
    """

    @cached_property
    def best(self) -> Realised:
        key, parameters = self.ground.best
        return self._realise(key, parameters, np.zeros(self.plan.budget.rungs))

    def trial(self, strategy: str, parameters: Mapping[str, Scalar]) -> Realised:
        """The trial; the same configuration gives the same trial again."""
        noise = self.ground.noise
        text = repr((self.seed, strategy, sorted(parameters.items())))
        generator = np.random.default_rng(zlib.crc32(text.encode()))
        sign = 1 if generator.random() < 0.5 else -1
        return self._realise(strategy, parameters, sign * noise[generator.integers(len(noise))])

    def _realise(self, key: str, parameters: Mapping[str, Scalar], noise: Floats) -> Realised:
        ground = self.ground
        seconds = tuple(ground.costs.seconds(key, parameters, scored_items(self.plan)))
        if key not in ground.models:
            one = ground.table.of(key)[0]
            items = self.halved(one.final)
            return Realised((float(items[0::2].mean()),), seconds[-1:], items, one.loss)
        model = ground.models[key]
        log_curve = model.predict([parameters])[0]
        near = model.nearest(parameters)
        curve = np.exp(log_curve + noise)
        items = self.halved(near.final) * (curve[-1] / near.loss)
        losses = (*curve[:-1], items[0::2].mean())
        return Realised(tuple(map(float, losses)), seconds, items, float(np.exp(log_curve[-1])))


@dataclass
class TableWorld(_Recorded):
    """Recorded trials themselves: the nearest one of the strategy that was not used yet.

    Args:
        ground: The task.
        seed: Of the replay.
    """

    _used: set[int] = field(default_factory=set)

    @cached_property
    def best(self) -> Realised:
        return self._realise(self._best_met)

    @property
    def optimum(self) -> tuple[str, dict[str, Scalar]]:
        """The configuration that ``best`` is the trial of."""
        return self._best_met.strategy, self._best_met.parameters

    @cached_property
    def _best_met(self) -> Recorded:
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
        coordinates = Coordinates(axes_of(self.plan, key))
        points = coordinates.points([one.parameters for one in pool])
        apart = ((points - coordinates.points([parameters])) ** 2).sum(axis=1)
        return pool[int(np.argmin(apart))]

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
