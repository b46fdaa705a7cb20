"""Counterfactuals: the examples, memory or size that would change a plan's decision.

The plan is made again with changed facts. A wish is a strategy and an outcome that this strategy
does not have in the plan, such as to rank first.
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
from sweeper.planning.fitting import scaled
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.spec import Spec

Outcome = Literal["ranks first", "fits"]
# Changes are tried in steps of half a doubling, up to this number of doublings or halvings.
DOUBLINGS = 8
_HALF_DOUBLING = math.sqrt(2)
# Model sizes that are tried in each factor of ten.
_SIZES_PER_DECADE = 200


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of one fact that would put a strategy first, or make it fit.

    Args:
        fact: Name of the fact in rules, which fixes its unit.
    """

    strategy: str
    outcome: Outcome
    fact: str
    actual: float
    needed: float


def _size(step: int) -> float:
    """The model size with a number: billions of parameters, with three digits."""
    return float(f"{10 ** (step / _SIZES_PER_DECADE):.3g}")


def _step_of_size(size: float) -> int:
    """The number of the first model size that is not below this one."""
    step = math.ceil(_SIZES_PER_DECADE * math.log10(size) - 1e-9)
    return step - 1 if _size(step - 1) >= size else step  # sizes are rounded


def counterfactuals(spec: Spec, facts: Facts) -> tuple[Counterfactual, ...]:
    """The nearest changes with which another strategy would rank first, or fit.

    Changes are exact to one example, a tenth of a GiB, or 1% of the parameters.
    """
    book = rule_book(spec.rules)
    wishes = _Ranking(spec, facts, book).wishes()
    return tuple(
        change for fact in _VARIED_FACTS for change in _changes(spec, facts, book, fact, wishes)
    )


def _changes(
    spec: Spec,
    facts: Facts,
    book: RuleBook,
    fact: _VariedFact,
    wishes: Iterable[tuple[str, Outcome]],
) -> Iterator[Counterfactual]:
    """The nearest value of one fact for each outcome that it can cause."""
    actual = fact.read(facts)
    if actual is None:
        return

    @cache
    def ranking(step: int) -> _Ranking:
        return _Ranking(spec, fact.with_value(spec, facts, fact.value(step)), book)

    def grants(wish: tuple[str, Outcome], step: int) -> bool:
        return ranking(step).grants(*wish)

    for wish in wishes:
        nearest = _nearest(fact, actual, partial(grants, wish))
        if nearest is not None:
            yield Counterfactual(*wish, fact.name, actual, fact.value(nearest))


@dataclass(frozen=True, slots=True)
class _VariedFact:
    """One fact that is varied, over a numbered series of values.

    Args:
        name: Name of the fact in rules.
        read: The actual value of the fact; None if it cannot be varied.
        with_value: All facts, with another value of this one.
        step_of: The number of the first value that is not below the given one.
        value: The value with a number.
        least: The smallest value to try.
    """

    name: str
    read: Callable[[Facts], float | None]
    with_value: Callable[[Spec, Facts, float], Facts]
    step_of: Callable[[float], int]
    value: Callable[[int], float]
    least: float


def _with_examples(spec: Spec, facts: Facts, rows: float) -> Facts:
    """The facts with this number of examples, split anew; official splits keep their size."""
    data, examples = facts.data, round(rows)
    official = {s.name: s.rows for s in data.splits if s.origin == "official" and s.name != "train"}
    sizes = {split.name: split.rows for split in planned_splits(examples, spec.data)} | official
    held_out_rows = sum(size for name, size in sizes.items() if name not in (*official, "train"))
    sizes["train"] = max(examples - held_out_rows, 1)
    splits = tuple(split.model_copy(update={"rows": sizes[split.name]}) for split in data.splits)
    share = examples / data.examples
    labels = tuple(
        label.model_copy(update={"rows": max(round(label.rows * share), 1)})
        for label in data.labels
    )
    update = {
        "train_rows": sizes["train"],
        "rows": examples + sum(official.values()),
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


_VARIED_FACTS = (
    _VariedFact("examples", lambda f: f.data.examples, _with_examples, math.ceil, float, 1),
    _VariedFact(
        "memory_gib",
        lambda f: f.hardware.memory_gib,
        _with_memory,
        lambda gib: math.ceil(gib * 10 - 1e-9),
        lambda step: step / 10,
        0.1,
    ),
    _VariedFact(
        "parameters_billion",
        lambda f: f.models[0].parameters / 1e9 if len(f.models) == 1 else None,
        _with_size,
        _step_of_size,
        _size,
        1e-3,
    ),
)


class _Ranking:
    """The order of strategies in a plan from these facts; empty if none fits."""

    def __init__(self, spec: Spec, facts: Facts, book: RuleBook) -> None:
        try:
            candidates, rejected = ranked_candidates(book, spec, facts)
        except NothingFits:
            candidates, rejected = [], []
        self._fitting_names = list(dict.fromkeys(item.strategy for item in candidates))
        self._too_large = {item.strategy for item in rejected if item.needs_gib is not None}

    def grants(self, strategy: str, outcome: Outcome) -> bool:
        """Whether the strategy has this outcome."""
        names = self._fitting_names[:1] if outcome == "ranks first" else self._fitting_names
        return strategy in names

    def wishes(self) -> list[tuple[str, Outcome]]:
        """The outcomes to look for: another strategy ranks first, or a too large one fits."""
        if not self._fitting_names:
            return []
        wishes: list[tuple[str, Outcome]] = [
            (name, "ranks first") for name in sorted(self._fitting_names[1:])
        ]
        for name in sorted(self._too_large.difference(self._fitting_names)):
            wishes += [(name, "fits"), (name, "ranks first")]
        return wishes


def _nearest(fact: _VariedFact, actual: float, granted: Callable[[int], bool]) -> int | None:
    """The number of the nearest value, up or down and as a ratio, at which a wish is granted.

    None if it is granted at none that is tried.

    Args:
        actual: The present value, at which the wish is not granted.
        granted: Whether the wish is granted at the value with a number.
    """
    actual_step = fact.step_of(actual)  # its value may be above the actual one
    denied_at = {"up": actual_step - (fact.value(actual_step) > actual), "down": actual_step}
    up = _steps_outwards(fact, actual, _HALF_DOUBLING)
    down = _steps_outwards(fact, actual, 1 / _HALF_DOUBLING)
    for pair in zip(up, down, strict=True):
        granted_steps = []
        for direction, step_tried in zip(denied_at, pair, strict=True):
            if step_tried is None or step_tried == denied_at[direction]:
                continue
            if granted(step_tried):
                granted_steps.append(_bisect(denied_at[direction], step_tried, granted))
            denied_at[direction] = step_tried
        if granted_steps:
            return min(granted_steps, key=lambda step: abs(math.log(fact.value(step) / actual)))
    return None


def _steps_outwards(fact: _VariedFact, actual: float, factor: float) -> Iterator[int | None]:
    """Numbers of values ever farther from the actual one, by a factor; None below the least."""
    for exponent in range(1, 2 * DOUBLINGS + 1):
        value = actual * factor**exponent
        yield fact.step_of(value) if value >= fact.least else None


def _bisect(denied_at: int, granted_at: int, granted: Callable[[int], bool]) -> int:
    """The number nearest to ``denied_at`` at which the wish is still granted."""
    while abs(granted_at - denied_at) > 1:
        middle = (granted_at + denied_at) // 2
        if granted(middle):
            granted_at = middle
        else:
            denied_at = middle
    return granted_at
