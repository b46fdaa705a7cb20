"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sweeper import units
from sweeper.errors import NothingFits
from sweeper.facts.dataset.rows import planned_splits
from sweeper.facts.record import Facts
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.spec import Spec

# A change is looked for in steps of a half doubling, up to so many doublings or halvings away.
DOUBLINGS = 8
_STEP = math.sqrt(2)


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of one fact that would put a strategy first, or make it fit.

    Args:
        strategy: Which strategy the change favours.
        outcome: ``ranks first`` or ``fits``.
        fact: The fact that would have to change.
        actual: The actual value.
        needed: The needed value, with the precision of ``text``.
        text: The same as a sentence.
    """

    strategy: str
    outcome: str
    fact: str
    actual: float
    needed: float
    text: str


def counterfactuals(
    spec: Spec, facts: Facts, book: RuleBook | None = None
) -> tuple[Counterfactual, ...]:
    """What would have to change for another strategy to rank first, or for one to fit.

    The plan is made again with more or fewer examples, more or less memory a device, and a larger
    or smaller model. The nearest change is found to the last example, tenth of a GiB, or third
    digit of the number of parameters.
    """
    book = book or rule_book(spec.rules)
    base = _ranking(spec, facts, book)
    found: list[Counterfactual] = []
    for knob in _KNOBS:
        actual = knob.read(facts)
        if actual is None:
            continue
        search = _Search(spec, facts, book, knob, actual, {})
        for strategy, outcome in _wishes(base):
            needed = search.nearest(strategy, outcome)
            if needed is not None:
                would = "would rank first" if outcome == "ranks first" else "would fit"
                text = f"{knob.words(actual, needed)} {strategy} {would}."
                found.append(Counterfactual(strategy, outcome, knob.fact, actual, needed, text))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Knob:
    """One fact that is varied over the values that a sentence can name.

    Args:
        fact: Its name.
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


def _with_examples(spec: Spec, facts: Facts, rows: float) -> Facts:
    """Facts of so many examples, split as they would be; official splits stay as they are."""
    data, examples = facts.data, round(rows)
    apart = {s.name: s.rows for s in data.splits if s.origin == "official" and s.name != "train"}
    sizes = {one.name: one.rows for one in planned_splits(examples, spec.data)} | apart
    taken = sum(rows for name, rows in sizes.items() if name not in (*apart, "train"))
    sizes["train"] = max(examples - taken, 1)
    splits = tuple(one.model_copy(update={"rows": sizes[one.name]}) for one in data.splits)
    share = examples / data.examples
    labels = tuple(
        label.model_copy(update={"rows": max(round(label.rows * share), 1)})
        for label in data.labels
    )
    update = {
        "train_rows": sizes["train"],
        "rows": examples + sum(apart.values()),
        "splits": splits,
        "labels": labels,
    }
    return facts.model_copy(update={"data": data.model_copy(update=update)})


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
    _Knob(
        "examples",
        lambda f: f.data.examples,
        _with_examples,
        _more_rows,
        math.ceil,
        float,
    ),
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


@dataclass(frozen=True, slots=True)
class _Ranking:
    first: str | None
    fitting: frozenset[str]
    too_large: frozenset[str]

    def grants(self, strategy: str, outcome: str) -> bool:
        return self.first == strategy if outcome == "ranks first" else strategy in self.fitting


def _ranking(spec: Spec, facts: Facts, book: RuleBook) -> _Ranking:
    try:
        ranked = ranked_candidates(book, spec, facts)
    except NothingFits:
        return _Ranking(None, frozenset(), frozenset())
    candidates, rejected = ranked
    return _Ranking(
        candidates[0].strategy,
        frozenset(candidate.strategy for candidate in candidates),
        frozenset(item.strategy for item in rejected if item.needs_gib is not None),
    )


def _wishes(base: _Ranking) -> list[tuple[str, str]]:
    firsts = [(name, "ranks first") for name in sorted(base.fitting - {base.first})]
    both = [
        (name, outcome) for name in sorted(base.too_large) for outcome in ("fits", "ranks first")
    ]
    return [*firsts, *both]


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
            self.known[place] = _ranking(self.spec, turned, self.book)
        return self.known[place].grants(strategy, outcome)

    def nearest(self, strategy: str, outcome: str) -> float | None:
        """The nearest value, up or down, with which the outcome is reached."""
        above, below = self._outwards(_STEP), self._outwards(1 / _STEP)
        here = self.knob.place(self.actual)
        last = {1: here - (self.knob.value(here) > self.actual), -1: here}
        for pair in zip(above, below, strict=True):
            for way, place in zip((1, -1), pair, strict=True):
                if place is None or place == last[way]:
                    continue
                if self.granted(place, strategy, outcome):
                    return self.knob.value(self._bisected(last[way], place, strategy, outcome))
                last[way] = place
        return None

    def _outwards(self, step: float) -> Iterator[int | None]:
        """Places in steps away from the actual value; None below the first."""
        for number in range(1, 2 * DOUBLINGS + 1):
            value = self.actual * step**number
            least = self.knob.value(1) if self.knob.fact != "parameters_billion" else 1e6
            yield self.knob.place(value) if value >= least else None

    def _bisected(self, without: int, granted: int, strategy: str, outcome: str) -> int:
        """The place nearest to ``without`` with which the outcome is still reached."""
        while abs(granted - without) > 1:
            middle = (granted + without) // 2
            if self.granted(middle, strategy, outcome):
                granted = middle
            else:
                without = middle
        return granted
