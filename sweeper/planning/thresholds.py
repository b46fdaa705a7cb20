"""The number of examples at which a plan's discrete choices change, nearest to the one at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from sweeper.facts.dataset.stated import planned_splits
from sweeper.facts.record import Facts
from sweeper.hyperparameters import BATCH, EPOCHS, TARGET_MODULES
from sweeper.plans import Parameter, Threshold
from sweeper.spec import Scalar, Spec

# A change is looked for in steps of a half doubling, up to so many doublings or halvings away.
DOUBLINGS = 8
_STEP = math.sqrt(2)

# What a plan chooses in steps; rates and shares are not among them.
DISCRETE = (BATCH, EPOCHS, "r", TARGET_MODULES)


def choice_threshold(
    facts: Facts, spec: Spec, parameters: Callable[[Facts], Mapping[str, Parameter]]
) -> Threshold | None:
    """The nearest number of examples with which a discrete choice would be another one.

    Args:
        parameters: The parameters of the recommended strategy by facts.
    """
    here = _choices(parameters(facts))

    def differs(rows: int) -> bool:
        return _choices(parameters(with_examples(spec, facts, rows))) != here

    examples = facts.data.examples
    found = nearest(examples, 1, math.ceil, float, differs)
    if found is None:
        return None
    there = parameters(with_examples(spec, facts, found))
    changed = {name: value for name, value in _choices(there).items() if here.get(name) != value}
    return Threshold(
        fact="examples",
        actual=examples,
        needed=found,
        now={name: here[name] for name in changed if name in here},
        then=changed,
    )


def _choices(parameters: Mapping[str, Parameter]) -> dict[str, Scalar]:
    return {name: parameters[name].default for name in DISCRETE if name in parameters}


def nearest(
    actual: float,
    least: float,
    place: Callable[[float], int],
    value: Callable[[int], float],
    granted: Callable[[int], bool],
) -> int | None:
    """The place of the nearest value, up or down and as a ratio, at which something holds.

    Args:
        actual: The value at which it does not hold.
        least: The smallest value to try.
        place: The number of the first value that is not below the given one.
        value: The value of that number.
        granted: Whether it holds at a place.
    """
    here = place(actual)
    last = {1: here - (value(here) > actual), -1: here}
    up, down = (_outwards(actual, least, step, place) for step in (_STEP, 1 / _STEP))
    for pair in zip(up, down, strict=True):
        found = []
        for way, tried in zip(last, pair, strict=True):
            if tried is None or tried == last[way]:
                continue
            if granted(tried):
                found.append(_bisected(last[way], tried, granted))
            last[way] = tried
        if found:
            return min(found, key=lambda one: abs(math.log(value(one) / actual)))
    return None


def _outwards(
    actual: float, least: float, step: float, place: Callable[[float], int]
) -> Iterator[int | None]:
    """Places in steps away from the actual value; None below the least."""
    for number in range(1, 2 * DOUBLINGS + 1):
        value = actual * step**number
        yield place(value) if value >= least else None


def _bisected(without: int, there: int, granted: Callable[[int], bool]) -> int:
    """The place nearest to ``without`` at which it still holds."""
    while abs(there - without) > 1:
        middle = (there + without) // 2
        if granted(middle):
            there = middle
        else:
            without = middle
    return there


def with_examples(spec: Spec, facts: Facts, rows: float) -> Facts:
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
