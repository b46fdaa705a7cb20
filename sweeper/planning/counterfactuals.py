"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sweeper import units
from sweeper.errors import NothingFits
from sweeper.facts.record import Facts
from sweeper.planning.candidates import fitted, rated_model
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import epochs_of, ranked_candidates
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
    wishes = _wishes(spec, facts, book)
    return tuple(one for knob in _KNOBS for one in _changes(spec, facts, book, knob, wishes))


def _changes(
    spec: Spec, facts: Facts, book: RuleBook, knob: _Knob, wishes: Iterable[tuple[str, str]]
) -> Iterator[Counterfactual]:
    """What one fact would have to be for each wish that it can grant."""
    actual = knob.read(facts)
    if actual is None:
        return
    search = _Search(spec, facts, book, knob, actual, {})
    for strategy, outcome in wishes:
        needed = search.nearest(strategy, outcome)
        if needed is not None:
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
    """

    fact: str
    read: Callable[[Facts], float | None]
    turn: Callable[[Spec, Facts, float], Facts]
    words: Callable[[float, float], str]
    place: Callable[[float], int]
    value: Callable[[int], float]


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
    _Knob("examples", lambda f: f.data.examples, with_examples, _more_rows, math.ceil, float),
    _Knob(
        "memory_gib",
        lambda f: f.hardware.memory_gib,
        _with_memory,
        _more_memory,
        lambda gib: math.ceil(gib * 10 - 1e-9),
        lambda place: place / 10,
    ),
    _Knob(
        "parameters_billion",
        lambda f: float(f.models[0].parameters) if len(f.models) == 1 else None,
        _with_size,
        _other_size,
        _digits_place,
        _digits_value,
    ),
)


class _Ranking:
    """The order of the strategies with some facts; each is fitted only when it is asked for."""

    def __init__(self, spec: Spec, facts: Facts, book: RuleBook) -> None:
        self._spec, self._facts = spec, facts
        self._bases = [rated_model(book, spec, facts, model) for model in facts.models]
        self._epochs = epochs_of(spec, facts, self._bases[0])
        self._known: dict[tuple[int, str, bool], bool] = {}
        pairs = [(n, one) for n, base in enumerate(self._bases) for one in base.strategies.values()]
        pairs.sort(key=lambda pair: (-round(pair[1].score, 6), pair[1].strategy.order))
        self._order = [(number, rated.strategy.name) for number, rated in pairs]

    def grants(self, strategy: str, outcome: str) -> bool:
        if outcome == "ranks first":
            return (self._first(leave_out=True) or self._first(leave_out=False)) == strategy
        leave_out = self._first(leave_out=True) is not None
        return any(self._is(n, strategy, leave_out) for n in range(len(self._bases)))

    def _first(self, *, leave_out: bool) -> str | None:
        """The first strategy that is a candidate, as ``planner`` sorts them."""
        return next((name for n, name in self._order if self._is(n, name, leave_out)), None)

    def _is(self, number: int, strategy: str, leave_out: bool) -> bool:
        key = (number, strategy, leave_out)
        if key not in self._known:
            base = self._bases[number]
            rated = base.strategies[strategy]
            made = fitted(self._spec, self._facts, base, rated, self._epochs, leave_out=leave_out)
            self._known[key] = not isinstance(made, Rejected) and made[1].fits
        return self._known[key]


def _wishes(spec: Spec, facts: Facts, book: RuleBook) -> list[tuple[str, str]]:
    """What could be wished for: that another strategy ranks first, or that a large one fits."""
    try:
        candidates, rejected = ranked_candidates(book, spec, facts)
    except NothingFits:
        return []
    fitting = {one.strategy for one in candidates}
    firsts = sorted(fitting - {candidates[0].strategy})
    large = {one.strategy for one in rejected if one.needs_gib is not None} - fitting
    both = [(name, outcome) for name in sorted(large) for outcome in ("fits", "ranks first")]
    return [*((name, "ranks first") for name in firsts), *both]


@dataclass(frozen=True, slots=True)
class _Search:
    """The plan's order at the values of one knob, each of which is planned once."""

    spec: Spec
    facts: Facts
    book: RuleBook
    knob: _Knob
    actual: float
    known: dict[int, _Ranking]

    def granted(self, place: int, strategy: str, outcome: str) -> bool:
        if place not in self.known:
            turned = self.knob.turn(self.spec, self.facts, self.knob.value(place))
            self.known[place] = _Ranking(self.spec, turned, self.book)
        return self.known[place].grants(strategy, outcome)

    def nearest(self, strategy: str, outcome: str) -> float | None:
        """The nearest value, up or down, with which the outcome is reached."""
        knob = self.knob
        least = knob.value(1) if knob.fact != "parameters_billion" else 1e6

        def granted(place: int) -> bool:
            return self.granted(place, strategy, outcome)

        found = nearest(self.actual, least, knob.place, knob.value, granted)
        return None if found is None else knob.value(found)
