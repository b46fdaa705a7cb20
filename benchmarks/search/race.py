"""A race of learning rates: all start at once, and each doubling drops the worse half.

The first race has four rates of each strategy. Each later one starts from the best configuration so
far and races what is left to try about it: the engineer's changes, eight at a time. A survivor goes
on from where it stood, so that it pays for the rest alone. Near-ties survive: an entrant of the
worse half that a paired test over the rung's items cannot tell from the worst survivor goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from benchmarks.search.score import Replay
from benchmarks.search.world import Realised, TableWorld, is_scored
from sweeper.plans import Parameter, Plan
from sweeper.spec import Scalar

RATE = "learning_rate"
# The default, and by factors of three around it; one more upwards, where small models and short
# trainings have their best rates.
FACTORS = (1.0, 1 / 3, 3.0, 9.0)
# About the best configuration so far: finer rates, then one other parameter at a time.
FINER = (1.7, 1 / 1.7)
OTHERS = (3.0, 1 / 3)
ENTRANTS = 8
# A difference below this many standard errors is a near-tie.
TIE = 1.0


@dataclass(eq=False)
class Entrant:
    """One configuration in a race.

    Args:
        key: Its candidate.
        parameters: By plain name.
        shown: What its trial shows, as far as it is trained.
        rung: Where it stands.
    """

    key: str
    parameters: dict[str, Scalar]
    shown: Realised
    rung: int = 0

    def advance(self, rung: int) -> float:
        """Train on to a rung; returns the seconds that this takes."""
        before = self._seconds(self.rung)
        self.rung = rung
        return self._seconds(rung) - before

    def _seconds(self, rung: int) -> float:
        return self.shown.seconds[min(rung, len(self.shown.seconds)) - 1] if rung else 0.0

    @property
    def loss(self) -> float:
        """At the rung where it stands."""
        return self.shown.losses[min(self.rung, len(self.shown.losses)) - 1]

    def near(self, other: Entrant) -> bool:
        """Whether the items of the rung cannot tell the two apart."""
        if not (math.isfinite(self.loss) and math.isfinite(other.loss)):
            return False
        ours, theirs = self._items(), other._items()
        if ours is None or theirs is None or len(ours) != len(theirs) or len(ours) < 2:
            return False
        return near_tie(ours, theirs)

    def _items(self) -> Any:
        scored = self.shown.scored
        return np.asarray(scored[self.rung - 1].each) if self.rung <= len(scored) else None


def near_tie(ours: Any, theirs: Any) -> bool:
    """Whether the losses of the same items cannot tell that the first are higher."""
    apart = ours - theirs
    return float(apart.mean()) <= TIE * float(apart.std(ddof=1)) / math.sqrt(len(apart))


class Racer(Protocol):
    """What survives or is dropped by its loss."""

    @property
    def loss(self) -> float: ...

    def near(self, other: Self) -> bool: ...


R = TypeVar("R", bound=Racer)


@dataclass
class Racing:
    """Races in one world, one after another, until the time is over."""

    world: TableWorld
    limit: float
    spent: float = 0.0
    ended: list[tuple[float, Realised]] = field(default_factory=list)
    finishers: list[Entrant] = field(default_factory=list)

    def race(self, entrants: list[Entrant]) -> None:
        """Train all, dropping the worse half at each doubling."""
        for rung in _looks(self.world.plan):
            for one in entrants:
                self.spent += one.advance(rung)
                if rung >= self.world.plan.budget.rungs and one.shown.items is not None:
                    self.ended.append((self.spent, one.shown))
                    self.finishers.append(one)
                if self.spent >= self.limit:
                    return
            entrants = survivors(entrants)

    def enter(self, key: str, parameters: Mapping[str, Scalar]) -> Entrant:
        """A configuration with the trial that the world has for it."""
        return Entrant(key, dict(parameters), self.world.trial(key, parameters))


def survivors(entrants: list[R]) -> list[R]:
    """The better half, and whatever cannot be told from the worst of it."""
    alive = sorted((one for one in entrants if math.isfinite(one.loss)), key=lambda one: one.loss)
    kept = alive[: max(1, math.ceil(len(entrants) / 2))]
    return kept + [one for one in alive[len(kept) :] if one.near(kept[-1])]


def _looks(plan: Plan) -> list[int]:
    """The rungs 1, 2, 4, ... that are scored, and the last."""
    rungs = plan.budget.rungs
    doublings = [2**power for power in range(rungs.bit_length()) if 2**power < rungs]
    return [*(rung for rung in doublings if is_scored(plan, rung)), rungs]


def run(world: TableWorld, limit: float) -> Replay:
    """The head's one trial, a race of rates, then races about the best, until the time is over."""
    plan, racing = world.plan, Racing(world, limit)
    tried: list[tuple[str, dict[str, Scalar]]] = []
    for key, one in plan.keyed.items():
        if one.searchable:
            rates = _scaled(one.defaults(), RATE, FACTORS, one.parameters[RATE])
            tried += [(key, changed) for changed in rates]
        else:
            racing.race([racing.enter(key, one.defaults())])
    racing.race([racing.enter(key, parameters) for key, parameters in tried])
    while racing.spent < limit:
        entrants = _next(plan, racing, tried)
        if not entrants:
            break
        racing.race(entrants)
    return Replay(tuple(racing.ended), world.best, limit)


def _next(plan: Plan, racing: Racing, tried: list[tuple[str, dict[str, Scalar]]]) -> list[Entrant]:
    entrants: list[Entrant] = []
    keyed = plan.keyed
    known = [one for one in racing.finishers if keyed[one.key].searchable]
    for best in sorted(known, key=lambda one: one.shown.first_half):
        parameters = keyed[best.key].parameters
        for changed in _changes(best.parameters, parameters):
            if (best.key, changed) not in tried:
                tried.append((best.key, changed))
                entrants.append(racing.enter(best.key, changed))
            if len(entrants) == ENTRANTS:
                return entrants
    return entrants


def _changes(
    best: Mapping[str, Scalar], parameters: Mapping[str, Parameter]
) -> Iterator[dict[str, Scalar]]:
    yield from _scaled(best, RATE, FINER, parameters[RATE])
    for name, one in parameters.items():
        if name not in best or not one.searched or name == RATE:
            continue
        if one.kind == "categorical":
            for choice in one.choices or ():
                if choice != best[name]:
                    yield _completed({**best, name: choice}, parameters)
        else:
            yield from _scaled(best, name, OTHERS, one)


def _scaled(
    best: Mapping[str, Scalar], name: str, factors: tuple[float, ...], known: Parameter
) -> Iterator[dict[str, Scalar]]:
    low = known.allowed_low if known.allowed_low is not None else known.low
    high = known.allowed_high if known.allowed_high is not None else known.high
    now = best[name]
    for factor in factors:
        value = float(now) * factor
        if (low is None or value >= low) and (high is None or value <= high):
            yield {**best, name: round(value) if isinstance(now, int) else value}


def _completed(
    chosen: Mapping[str, Scalar], parameters: Mapping[str, Parameter]
) -> dict[str, Scalar]:
    """The parameters whose conditions hold, at their defaults where nothing was chosen."""
    whole: dict[str, Scalar] = {}
    for name, one in parameters.items():
        if one.holds(whole):
            whole[name] = chosen.get(name, one.default)
    return whole
