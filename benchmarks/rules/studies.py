"""Simulated studies in which the effect of each rule is known.

A study is twenty trials of a search on a task that answers any configuration: a formula, or a model
of recorded trials with the noise of their seeds (``benchmarks.search.world``). Two parameters that
change nothing are added to every strategy, and the search chooses their values like any other's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from benchmarks.search.formula import KINDS, FormulaWorld
from benchmarks.search.replay import PLANNED_LIKE, answered_by, seeded
from benchmarks.search.table import read
from benchmarks.search.world import Ground, ModelWorld, Realised, TableWorld, World
from sweeper.findings.evidence.effects import LossModel, Seen, comparable_losses
from sweeper.plans import Parameter, Plan
from sweeper.search.engine import StopCondition, Tried, search
from sweeper.search.starts import known_starts
from sweeper.spec import Scalar

TRIALS = 20
# Parameters that change nothing, with the values that a rule would call best practice.
NOTHING = {
    "null_rate": Parameter(
        kind="float", low=1e-3, high=1e-2, log=True, allowed_low=1e-4, allowed_high=1e-1,
        default=3e-3, source="none",
    ),
    "null_size": Parameter(
        kind="int", low=8, high=64, log=True, allowed_low=1, allowed_high=256, default=16,
        source="none",
    ),
    "null_choice": Parameter(
        kind="categorical", choices=("a", "b"), allowed_choices=("a", "b"), default="a",
        source="none",
    ),
}  # fmt: skip


@dataclass
class Surface:
    """A world that ignores the parameters that change nothing."""

    world: World
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        candidates = [
            one.model_copy(update={"parameters": one.parameters | NOTHING})
            if not one.one_trial and any(p.searched for p in one.parameters.values())
            else one
            for one in self.world.plan.candidates
        ]
        self.plan = self.world.plan.model_copy(update={"candidates": tuple(candidates)})

    def trial(self, strategy: str, parameters: Mapping[str, Scalar]) -> Realised:
        real = {name: value for name, value in parameters.items() if name not in NOTHING}
        shown = self.world.trial(strategy, real)
        if isinstance(self.world, FormulaWorld | ModelWorld) and len(shown.losses) > 1:
            # Such a world gives one configuration the same noise again, and null ones are many.
            return shown
        return shown

    def truth(self, strategy: str, configurations: Sequence[Mapping[str, Scalar]]) -> list[float]:
        """Log losses without noise."""
        if isinstance(self.world, FormulaWorld):
            return [math.log(self.world._truth(strategy, one)[0]) for one in configurations]
        ground = self.world.ground  # type: ignore[attr-defined]
        return np.log(ground.truths(strategy, configurations)).tolist()


def surfaces(name: str) -> Callable[[int], Surface]:
    """What makes a task from a seed: a formula, a model of a table, or a table itself."""
    if name in KINDS:
        plan = read(PLANNED_LIKE).plan
        return lambda seed: Surface(FormulaWorld(plan, KINDS[name], seed))
    task, _, kind = name.partition(":")
    ground = Ground.of(read(task))
    if kind == "table":
        return lambda seed: Surface(TableWorld(ground, seed))
    return lambda seed: Surface(ModelWorld(ground, seed))


@dataclass(frozen=True)
class Claim:
    """One rule of a simulated study, with its true effect and what the trials say of it."""

    strategy: str
    parameter: str
    truth: float | None
    p: float
    value: float
    low: float
    high: float
    inside: int
    outside: int

    @property
    def null(self) -> bool:
        return self.parameter in NOTHING


@dataclass(frozen=True)
class Study:
    claims: tuple[Claim, ...]
    untested: int
    noise: float


def study(surface: Surface, seed: int, sampler: str, pruner: str) -> Study:
    """Run one study and judge its rules."""
    plan = seeded(surface.plan, seed, None)
    realised: list[Realised] = []
    done = search(
        plan,
        answered_by(surface, plan, realised),
        StopCondition(TRIALS),
        starts=[start.fixed for start in known_starts(plan, TRIALS)],
        sampler=sampler,
        pruner=pruner,
    )
    claims, untested = [], 0
    for candidate in plan.candidates:
        trials = [one for one in done.trials if one.strategy == candidate.strategy]
        seen = [_seen(one) for one in trials]
        losses = comparable_losses(seen)
        kept = [(one, loss) for one, loss in zip(trials, losses, strict=True) if loss is not None]
        model = LossModel(
            [one.parameters for one, _ in kept], [loss for _, loss in kept], candidate.parameters
        )
        for name, parameter in candidate.parameters.items():
            if not parameter.searched:
                continue
            inside = membership(parameter)
            effect = model.effect(name, inside)
            if effect is None:
                untested += 1
                continue
            truth = None
            points = [one.parameters for one, _ in kept]
            if name in NOTHING:
                truth = 0.0
            elif not isinstance(surface.world, TableWorld):
                truth = _truth(surface, candidate.strategy, points, name, inside)
            within = sum(inside(point[name]) for point in points)
            claims.append(
                Claim(candidate.strategy, name, truth, effect.p, effect.value, effect.low,
                      effect.high, within, len(points) - within)
            )  # fmt: skip
    return Study(tuple(claims), untested, 0.0)


def membership(parameter: Parameter) -> Callable[[Scalar], bool]:
    """What a rule calls best practice: the range, or the default where it has all choices."""
    if parameter.kind != "categorical":
        low, high = parameter.low, parameter.high
        return lambda value: low <= float(value) <= high
    if set(parameter.choices or ()) >= set(parameter.allowed_choices or ()):
        return lambda value: value == parameter.default
    return lambda value: value in (parameter.choices or ())


def _seen(one: Tried) -> Seen:
    return Seen({rung.rung: rung.loss for rung in one.rungs}, one.loss)


def _truth(
    surface: Surface,
    strategy: str,
    points: Sequence[Mapping[str, Scalar]],
    name: str,
    inside: Callable[[Scalar], bool],
) -> float:
    """The mean over all trials of the study, at the values tried outside less those inside."""
    sides = []
    for wanted in (False, True):
        values = [point[name] for point in points if inside(point[name]) == wanted]
        moved = [{**point, name: value} for point in points for value in values]
        sides.append(float(np.mean(surface.truth(strategy, moved))))
    return sides[0] - sides[1]
