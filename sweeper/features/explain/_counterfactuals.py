"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from sweeper.facts.record import Facts
from sweeper.planning.candidates import RatedModel, fitted, rated_model
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import epochs_of
from sweeper.planning.rulebook.apply_rules import RatedStrategy
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.planning.thresholds import nearest, with_examples
from sweeper.plans import Rejected
from sweeper.spec import Spec

Outcome = Literal["ranks first", "fits"]
# Sizes that are tried between one and its tenfold.
_SIZES = 200


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of one fact that would put a strategy first, or make it fit.

    Args:
        fact: The name of the fact in rules, and so its unit.
    """

    strategy: str
    outcome: Outcome
    fact: str
    actual: float
    needed: float


def counterfactuals(spec: Spec, facts: Facts) -> tuple[Counterfactual, ...]:
    """What would have to change for another strategy to rank first, or for one to fit.

    The plan is made again with more or fewer examples, more or less memory a device, and a larger
    or smaller model. The nearest change is found to the last example, tenth of a GiB, or
    hundredth of the number of parameters.
    """
    book = rule_book(spec.rules)
    wishes = _Ranking(spec, facts, book).wishes()
    return tuple(one for knob in _KNOBS for one in _changes(spec, facts, book, knob, wishes))


def _changes(
    spec: Spec, facts: Facts, book: RuleBook, knob: _Knob, wishes: Iterable[tuple[str, Outcome]]
) -> Iterator[Counterfactual]:
    """What one fact would have to be for each wish that it can grant."""
    actual = knob.read(facts)
    if actual is None:
        return

    @cache
    def ranking(place: int) -> _Ranking:
        return _Ranking(spec, knob.turn(spec, facts, knob.value(place)), book)

    def grants(wish: tuple[str, Outcome], place: int) -> bool:
        return ranking(place).grants(*wish)

    for wish in wishes:
        granted = partial(grants, wish)
        found = nearest(actual, knob.least, knob.place, knob.value, granted)
        if found is not None:
            yield Counterfactual(*wish, knob.fact, actual, knob.value(found))


@dataclass(frozen=True, slots=True)
class _Knob:
    """One fact that is varied over the values that are tried.

    Args:
        read: The fact as it is.
        turn: The facts with another value, and what changes with it.
        place: The number of the first value that is not below the given one.
        value: The value of that number.
        least: The smallest value to try.
    """

    fact: str
    read: Callable[[Facts], float | None]
    turn: Callable[[Spec, Facts, float], Facts]
    place: Callable[[float], int]
    value: Callable[[int], float]
    least: float


def _with_memory(spec: Spec, facts: Facts, gib: float) -> Facts:
    hardware = facts.hardware.model_copy(update={"memory_gib": gib})
    return facts.model_copy(update={"hardware": hardware})


def _with_size(spec: Spec, facts: Facts, billion: float) -> Facts:
    model = facts.models[0]
    share = billion * 1e9 / model.parameters
    return facts.model_copy(update={"models": (scaled(model, share),)})


_KNOBS = (
    _Knob("examples", lambda f: f.data.examples, with_examples, math.ceil, float, 1),
    _Knob(
        "memory_gib",
        lambda f: f.hardware.memory_gib,
        _with_memory,
        lambda gib: math.ceil(gib * 10 - 1e-9),
        lambda place: place / 10,
        0.1,
    ),
    _Knob(
        "parameters_billion",
        lambda f: f.models[0].parameters / 1e9 if len(f.models) == 1 else None,
        _with_size,
        lambda size: math.ceil(_SIZES * math.log10(size) - 1e-9),
        lambda place: float(f"{10 ** (place / _SIZES):.3g}"),
        1e-3,
    ),
)


class _Ranking:
    """The order of the strategies with some facts; each is fitted only when it is asked for."""

    def __init__(self, spec: Spec, facts: Facts, book: RuleBook) -> None:
        self._spec, self._facts = spec, facts
        bases = [rated_model(book, spec, facts, model) for model in facts.models]
        self._epochs = epochs_of(spec, facts, bases[0])
        self._ends: dict[tuple[str, str, bool], str] = {}
        pairs = [(base, rated) for base in bases for rated in base.strategies.values()]
        # As ``planner`` sorts them.
        pairs.sort(key=lambda pair: (-round(pair[1].score, 6), pair[1].strategy.order))
        self._pairs = pairs
        self._leave_out = True
        # What rules leave out competes only if nothing else fits.
        self._leave_out = self.first is not None

    @property
    def first(self) -> str | None:
        """The first strategy that is a candidate."""
        return next(self._strategies("fits"), None)

    def grants(self, strategy: str, outcome: Outcome) -> bool:
        if outcome == "ranks first":
            return self.first == strategy
        own = (pair for pair in self._pairs if pair[1].strategy.name == strategy)
        return any(self._end(*pair) == "fits" for pair in own)

    def wishes(self) -> list[tuple[str, Outcome]]:
        """What could be wished for: another strategy ranks first, or a large one fits."""
        if self.first is None:
            return []
        fitting = set(self._strategies("fits"))
        large = sorted(set(self._strategies("too large")) - fitting)
        wishes: list[tuple[str, Outcome]] = [
            (name, "ranks first") for name in sorted(fitting - {self.first})
        ]
        for name in large:
            wishes += [(name, "fits"), (name, "ranks first")]
        return wishes

    def _strategies(self, end: str) -> Iterator[str]:
        return (one.strategy.name for base, one in self._pairs if self._end(base, one) == end)

    def _end(self, base: RatedModel, rated: RatedStrategy) -> str:
        """``fits`` for a candidate, ``too large``, or ``no candidate``."""
        leave_out = self._leave_out
        key = (base.model.id, rated.strategy.name, leave_out)
        if key not in self._ends:
            made = fitted(self._spec, self._facts, base, rated, self._epochs, leave_out=leave_out)
            fits = "no candidate"
            if not isinstance(made, Rejected):
                fits = "fits" if made[1].fits else "too large"
            self._ends[key] = fits
        return self._ends[key]
