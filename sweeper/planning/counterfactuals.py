"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from sweeper import units
from sweeper.facts.record import Facts
from sweeper.planning.candidates import RatedModel, fitted, rated_model
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import epochs_of
from sweeper.planning.rulebook.apply_rules import RatedStrategy
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.planning.thresholds import nearest, with_examples
from sweeper.plans import Rejected
from sweeper.spec import Spec


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of one fact that would put a strategy first, or make it fit.

    Args:
        outcome: ``ranks first`` or ``fits``.
        needed: The needed value, with the precision of ``text``.
        text: The same as a sentence.
    """

    strategy: str
    outcome: str
    fact: str
    actual: float
    needed: float
    text: str


def counterfactuals(spec: Spec, facts: Facts) -> tuple[Counterfactual, ...]:
    """What would have to change for another strategy to rank first, or for one to fit.

    The plan is made again with more or fewer examples, more or less memory a device, and a larger
    or smaller model. The nearest change is found to the last example, tenth of a GiB, or third
    digit of the number of parameters.
    """
    book = rule_book(spec.rules)
    wishes = _Ranking(spec, facts, book).wishes()
    return tuple(one for knob in _KNOBS for one in _changes(spec, facts, book, knob, wishes))


def _changes(
    spec: Spec, facts: Facts, book: RuleBook, knob: _Knob, wishes: Iterable[tuple[str, str]]
) -> Iterator[Counterfactual]:
    """What one fact would have to be for each wish that it can grant."""
    actual = knob.read(facts)
    if actual is None:
        return

    @cache
    def ranking(place: int) -> _Ranking:
        return _Ranking(spec, knob.turn(spec, facts, knob.value(place)), book)

    def grants(wish: tuple[str, str], place: int) -> bool:
        return ranking(place).grants(*wish)

    for wish in wishes:
        granted = partial(grants, wish)
        found = nearest(actual, knob.least, knob.place, knob.value, granted)
        if found is not None:
            (strategy, outcome), needed = wish, knob.value(found)
            would = "would rank first" if outcome == "ranks first" else "would fit"
            text = f"{knob.words(actual, needed)} {strategy} {would}."
            yield Counterfactual(strategy, outcome, knob.fact, actual, needed, text)


@dataclass(frozen=True, slots=True)
class _Knob:
    """One fact that is varied over the values that a sentence can name.

    Args:
        read: The fact as it is.
        turn: The facts with another value, and what changes with it.
        words: The change as the beginning of a sentence.
        place: The number of the first value that is not below the given one.
        value: The value of that number.
        least: The smallest value to try.
    """

    fact: str
    read: Callable[[Facts], float | None]
    turn: Callable[[Spec, Facts, float], Facts]
    words: Callable[[float, float], str]
    place: Callable[[float], int]
    value: Callable[[int], float]
    least: float


def _with_memory(spec: Spec, facts: Facts, gib: float) -> Facts:
    hardware = facts.hardware.model_copy(update={"memory_gib": gib})
    return facts.model_copy(update={"hardware": hardware})


def _with_size(spec: Spec, facts: Facts, parameters: float) -> Facts:
    model = facts.models[0]
    return facts.model_copy(update={"models": (scaled(model, parameters / model.parameters),)})


def _more_rows(actual: float, needed: float) -> str:
    change = "more" if needed > actual else "fewer"
    return f"With {abs(needed - actual):,.0f} {change} examples ({needed:,.0f} in all)"


def _more_memory(actual: float, needed: float) -> str:
    return f"With {needed:.1f} GiB a device instead of {actual:g}"


def _other_size(actual: float, needed: float) -> str:
    change = "larger" if needed > actual else "smaller"
    return f"With a {change} model of the same shape ({units.count(round(needed))} parameters)"


def _digits_place(value: float) -> int:
    """The number of a value among those with three digits; 100 has number 1,800."""
    size = math.floor(math.log10(value)) - 2
    mantissa = math.ceil(value / 10.0**size - 1e-9)
    return 900 * (size + 2) + mantissa - 100


def _digits_value(place: int) -> float:
    size, mantissa = divmod(place, 900)
    return float(round((mantissa + 100) * 10.0 ** (size - 2)))


_KNOBS = (
    _Knob("examples", lambda f: f.data.examples, with_examples, _more_rows, math.ceil, float, 1),
    _Knob(
        "memory_gib",
        lambda f: f.hardware.memory_gib,
        _with_memory,
        _more_memory,
        lambda gib: math.ceil(gib * 10 - 1e-9),
        lambda place: place / 10,
        0.1,
    ),
    _Knob(
        "parameters_billion",
        lambda f: float(f.models[0].parameters) if len(f.models) == 1 else None,
        _with_size,
        _other_size,
        _digits_place,
        _digits_value,
        1e6,
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

    def grants(self, strategy: str, outcome: str) -> bool:
        if outcome == "ranks first":
            return self.first == strategy
        own = (pair for pair in self._pairs if pair[1].strategy.name == strategy)
        return any(self._end(*pair) == "fits" for pair in own)

    def wishes(self) -> list[tuple[str, str]]:
        """What could be wished for: another strategy ranks first, or a large one fits."""
        if self.first is None:
            return []
        fitting = set(self._strategies("fits"))
        large = sorted(set(self._strategies("too large")) - fitting)
        both = [(name, outcome) for name in large for outcome in ("fits", "ranks first")]
        return [*((name, "ranks first") for name in sorted(fitting - {self.first})), *both]

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
