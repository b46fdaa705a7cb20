"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from sweeper.errors import NothingFits
from sweeper.facts.dataset.stated import planned_splits
from sweeper.facts.record import Facts
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.spec import Spec

Outcome = Literal["ranks first", "fits"]
# A change is looked for in steps of a half doubling, up to so many doublings or halvings away.
DOUBLINGS = 8
_STEP = math.sqrt(2)
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


def _size(step: int) -> float:
    return float(f"{10 ** (step / _SIZES):.3g}")


def _step_of_size(size: float) -> int:
    step = math.ceil(_SIZES * math.log10(size) - 1e-9)
    return step - 1 if _size(step - 1) >= size else step  # sizes are rounded


def counterfactuals(spec: Spec, facts: Facts) -> tuple[Counterfactual, ...]:
    """What would have to change for another strategy to rank first, or for one to fit.

    The plan is made again with more or fewer examples, more or less memory a device, and a larger
    or smaller model. The nearest change is found to the last example, tenth of a GiB, or
    hundredth of the number of parameters.
    """
    book = rule_book(spec.rules)
    wishes = _Ranking(spec, facts, book).wishes()
    return tuple(change for knob in _KNOBS for change in _changes(spec, facts, book, knob, wishes))


def _changes(
    spec: Spec, facts: Facts, book: RuleBook, knob: _Knob, wishes: Iterable[tuple[str, Outcome]]
) -> Iterator[Counterfactual]:
    """What one fact would have to be for each wish that it can grant."""
    actual = knob.read(facts)
    if actual is None:
        return

    @cache
    def ranking(step: int) -> _Ranking:
        return _Ranking(spec, knob.turn(spec, facts, knob.value(step)), book)

    def grants(wish: tuple[str, Outcome], step: int) -> bool:
        return ranking(step).grants(*wish)

    for wish in wishes:
        granted = partial(grants, wish)
        nearest = _nearest(actual, knob.least, knob.step_of, knob.value, granted)
        if nearest is not None:
            yield Counterfactual(*wish, knob.fact, actual, knob.value(nearest))


@dataclass(frozen=True, slots=True)
class _Knob:
    """One fact that is varied over the values that are tried.

    Args:
        read: The fact as it is.
        turn: The facts with another value, and what changes with it.
        step_of: The number of the first value that is not below the given one.
        value: The value of that number.
        least: The smallest value to try.
    """

    fact: str
    read: Callable[[Facts], float | None]
    turn: Callable[[Spec, Facts, float], Facts]
    step_of: Callable[[float], int]
    value: Callable[[int], float]
    least: float


def _with_examples(spec: Spec, facts: Facts, rows: float) -> Facts:
    """Facts of so many examples, split as they would be; official splits stay as they are."""
    data, examples = facts.data, round(rows)
    apart = {s.name: s.rows for s in data.splits if s.origin == "official" and s.name != "train"}
    sizes = {split.name: split.rows for split in planned_splits(examples, spec.data)} | apart
    taken = sum(rows for name, rows in sizes.items() if name not in (*apart, "train"))
    sizes["train"] = max(examples - taken, 1)
    splits = tuple(split.model_copy(update={"rows": sizes[split.name]}) for split in data.splits)
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


def _with_size(spec: Spec, facts: Facts, billion: float) -> Facts:
    model = facts.models[0]
    share = billion * 1e9 / model.parameters
    return facts.model_copy(update={"models": (scaled(model, share),)})


_KNOBS = (
    _Knob("examples", lambda f: f.data.examples, _with_examples, math.ceil, float, 1),
    _Knob(
        "memory_gib",
        lambda f: f.hardware.memory_gib,
        _with_memory,
        lambda gib: math.ceil(gib * 10 - 1e-9),
        lambda step: step / 10,
        0.1,
    ),
    _Knob(
        "parameters_billion",
        lambda f: f.models[0].parameters / 1e9 if len(f.models) == 1 else None,
        _with_size,
        _step_of_size,
        _size,
        1e-3,
    ),
)


class _Ranking:
    """The plan's order of the strategies with some facts."""

    def __init__(self, spec: Spec, facts: Facts, book: RuleBook) -> None:
        try:
            candidates, rejected = ranked_candidates(book, spec, facts)
        except NothingFits:
            candidates, rejected = [], []
        self._fitting = list(dict.fromkeys(item.strategy for item in candidates))
        self._large = {item.strategy for item in rejected if item.needs_gib is not None}

    def grants(self, strategy: str, outcome: Outcome) -> bool:
        names = self._fitting[:1] if outcome == "ranks first" else self._fitting
        return strategy in names

    def wishes(self) -> list[tuple[str, Outcome]]:
        """What could be wished for: another strategy ranks first, or a large one fits."""
        if not self._fitting:
            return []
        wishes: list[tuple[str, Outcome]] = [
            (name, "ranks first") for name in sorted(self._fitting[1:])
        ]
        for name in sorted(self._large.difference(self._fitting)):
            wishes += [(name, "fits"), (name, "ranks first")]
        return wishes


def _nearest(
    actual: float,
    least: float,
    step_of: Callable[[float], int],
    value: Callable[[int], float],
    granted: Callable[[int], bool],
) -> int | None:
    """The number of the nearest value, up or down and as a ratio, at which something holds.

    Args:
        actual: The value at which it does not hold.
        least: The smallest value to try.
        step_of: The number of the first value that is not below the given one.
        value: The value of that number.
        granted: Whether it holds at a number.
    """
    here = step_of(actual)
    last = {1: here - (value(here) > actual), -1: here}
    up, down = (_outwards(actual, least, step, step_of) for step in (_STEP, 1 / _STEP))
    for pair in zip(up, down, strict=True):
        granting = []
        for way, tried in zip(last, pair, strict=True):
            if tried is None or tried == last[way]:
                continue
            if granted(tried):
                granting.append(_bisected(last[way], tried, granted))
            last[way] = tried
        if granting:
            return min(granting, key=lambda outcome: abs(math.log(value(outcome) / actual)))
    return None


def _outwards(
    actual: float, least: float, step: float, step_of: Callable[[float], int]
) -> Iterator[int | None]:
    """Numbers of values in steps away from the actual value; None below the least."""
    for number in range(1, 2 * DOUBLINGS + 1):
        value = actual * step**number
        yield step_of(value) if value >= least else None


def _bisected(without: int, there: int, granted: Callable[[int], bool]) -> int:
    """The number nearest to ``without`` at which it still holds."""
    while abs(there - without) > 1:
        middle = (there + without) // 2
        if granted(middle):
            there = middle
        else:
            without = middle
    return there
