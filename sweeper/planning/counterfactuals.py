"""What would change a plan's decision, in numbers: more examples, more memory, another size.

The plan is made again with changed facts; pure functions that return records and print nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper import units
from sweeper.errors import NothingFits
from sweeper.facts.record import Facts
from sweeper.planning.fitting.remedies import scaled
from sweeper.planning.planner import ranked_candidates
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.spec import Spec

# A change is looked for up to this many doublings (or halvings) away from what is.
DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The smallest change of one fact that would put a strategy first, or make it fit.

    Args:
        strategy: Which strategy the change favours.
        outcome: ``ranks first`` or ``fits``.
        fact: The fact that would have to change.
        actual: As it is.
        needed: As it would have to be.
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
    or smaller model; the nearest change is bisected to the last example or tenth of a GiB.
    """
    book = book or rule_book(spec.rules)
    base = _ranking(spec, facts, book)
    found: list[Counterfactual] = []
    for knob in _KNOBS:
        actual = knob.read(facts)
        if actual is None:
            continue
        for strategy, outcome in _wishes(base):
            needed = _nearest(spec, facts, book, knob, actual, strategy, outcome)
            if needed is not None:
                text = _sentence(knob, actual, needed, strategy, outcome)
                found.append(Counterfactual(strategy, outcome, knob.fact, actual, needed, text))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Knob:
    """One fact that is varied, and how the other facts change with it."""

    fact: str
    whole: bool
    read: Callable[[Facts], float | None]
    turn: Callable[[Facts, float], Facts]
    words: Callable[[float, float], str]


def _with_examples(facts: Facts, rows: float) -> Facts:
    data = facts.data
    share = rows / max(data.train_rows, 1)
    splits = tuple(
        split.model_copy(update={"rows": round(split.rows * share)}) for split in data.splits
    )
    labels = tuple(
        label.model_copy(update={"rows": max(round(label.rows * share), 1)})
        for label in data.labels
    )
    update = {
        "train_rows": round(rows),
        "rows": max(round(data.rows * share), 1),
        "splits": splits,
        "labels": labels,
    }
    return facts.model_copy(update={"data": data.model_copy(update=update)})


def _with_memory(facts: Facts, gib: float) -> Facts:
    hardware = facts.hardware.model_copy(update={"memory_gib": gib})
    return facts.model_copy(update={"hardware": hardware})


def _with_size(facts: Facts, parameters: float) -> Facts:
    model = facts.models[0]
    return facts.model_copy(update={"models": (scaled(model, parameters / model.parameters),)})


def _more_rows(actual: float, needed: float) -> str:
    change = "more" if needed > actual else "fewer"
    return f"With {abs(needed - actual):,.0f} {change} examples ({needed:,.0f} in all)"


def _more_memory(actual: float, needed: float) -> str:
    change = "more" if needed > actual else "less"
    return f"With {abs(needed - actual):.1f} GiB {change} a device ({needed:.1f} GiB)"


def _other_size(actual: float, needed: float) -> str:
    change = "larger" if needed > actual else "smaller"
    return f"With a {change} model of the same shape ({units.count(round(needed))} parameters)"


_KNOBS = (
    _Knob("examples", True, lambda f: f.data.train_rows, _with_examples, _more_rows),
    _Knob("memory_gib", False, lambda f: f.hardware.memory_gib, _with_memory, _more_memory),
    _Knob(
        "parameters_billion",
        False,
        lambda f: float(f.models[0].parameters) if len(f.models) == 1 else None,
        _with_size,
        _other_size,
    ),
)


@dataclass(frozen=True, slots=True)
class _Ranking:
    first: str | None
    fitting: frozenset[str]
    too_large: frozenset[str]


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


def _granted(ranking: _Ranking, strategy: str, outcome: str) -> bool:
    return ranking.first == strategy if outcome == "ranks first" else strategy in ranking.fitting


def _nearest(
    spec: Spec,
    facts: Facts,
    book: RuleBook,
    knob: _Knob,
    actual: float,
    strategy: str,
    outcome: str,
) -> float | None:
    """The nearest value, up or down, with which the outcome is reached."""

    def granted(value: float) -> bool:
        turned = knob.turn(facts, value)
        return _granted(_ranking(spec, turned, book), strategy, outcome)

    for step in range(1, DOUBLINGS + 1):
        for factor in (2.0**step, 0.5**step):
            value = actual * factor
            if knob.whole:
                value = float(round(value))
            if value < 1 and knob.whole:
                continue
            if granted(value):
                nearer = actual * (2.0 ** (step - 1) if factor > 1 else 0.5 ** (step - 1))
                return _bisected(granted, nearer, value, knob.whole)
    return None


def _bisected(granted: Callable[[float], bool], without: float, with_: float, whole: bool) -> float:
    """The value nearest to ``without`` with which the outcome is still reached."""
    precision = 1.0 if whole else abs(with_) * 0.005
    while abs(with_ - without) > precision:
        middle = (without + with_) / 2
        if whole:
            middle = float(round(middle))
            if middle in (without, with_):
                break
        if granted(middle):
            with_ = middle
        else:
            without = middle
    return with_


def _sentence(knob: _Knob, actual: float, needed: float, strategy: str, outcome: str) -> str:
    would = "would rank first" if outcome == "ranks first" else "would fit"
    return f"{knob.words(actual, needed)} {strategy} {would}."
