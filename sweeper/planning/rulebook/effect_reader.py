"""Reading the ``then`` of a rule, with every name and bound in it checked. Does not apply it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.plan import Parameter
from sweeper.planning.rulebook.effects import (
    CHANGE_KEYS,
    EVERY,
    QUESTIONS,
    SLOT,
    THEN_KEYS,
    Change,
    Effects,
)
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.parameter_reader import is_number, pair, parse_prior
from sweeper.planning.rulebook.strategy_files import DeclaredStrategy
from sweeper.yamlfile import Document, Path_


@dataclass
class _Reader:
    """One rule's ``then`` while it is read."""

    document: Document
    strategies: Mapping[str, DeclaredStrategy]
    problems: list[Problem]

    def add(self, path: Path_, what: str, why: str = "", fix: str = "") -> None:
        self.problems.append(Problem(what, why, fix, self.document.where(path)))

    def strategy(self, name: Any, path: Path_) -> bool:
        if name in self.strategies:
            return True
        self.add(path, f"there is no strategy {name!r}", "", near_match(str(name), self.strategies))
        return False

    def names(self, data: Any, path: Path_) -> tuple[str, ...]:
        items = data if isinstance(data, list) else [] if data is None else [data]
        return tuple(name for name in items if self.strategy(name, path))

    def mapping(self, data: Any, path: Path_) -> Mapping[str, Any]:
        if data is None or isinstance(data, Mapping):
            return data or {}
        self.add(path, f"{path[-1]} = {data!r} is not a mapping")
        return {}

    def text(self, data: Any, path: Path_) -> str:
        if data is None:
            return ""
        if not isinstance(data, str) or not data.strip():
            self.add(path, f"{path[-1]} = {data!r} is not a text")
            return ""
        for name in SLOT.findall(data):
            if name not in FACTS:
                self.add(path, f"there is no fact {name!r}", "", near_match(name, FACTS))
        return " ".join(data.split())


def parse_effects(
    data: Any,
    document: Document,
    path: Path_,
    strategies: Mapping[str, DeclaredStrategy],
    problems: list[Problem],
) -> Effects:
    """Read a ``then``; problems are appended with file and line."""
    reader = _Reader(document, strategies, problems)
    then = reader.mapping(data, path)
    if not then:
        reader.add(path, "then is missing or empty", "A rule that does nothing is no rule.")
    for key in then:
        if key not in THEN_KEYS:
            fix = near_match(str(key), THEN_KEYS)
            reader.add((*path, key), f"there is no effect {key!r}", "", fix)
    return Effects(
        weights=_weights(reader, then, path),
        exclude=reader.names(then.get("exclude"), (*path, "exclude")),
        leave_out=reader.names(then.get("leave_out"), (*path, "leave_out")),
        changes=_changes(reader, then, path),
        warning=reader.text(then.get("warn"), (*path, "warn")),
        advice=reader.text(then.get("advise"), (*path, "advise")),
        cautions=_texts(reader, then, path, "caution", strategies),
        answers=_texts(reader, then, path, "answer", QUESTIONS),
    )


def _weights(reader: _Reader, then: Mapping[str, Any], path: Path_) -> dict[str, float]:
    weights: dict[str, float] = {}
    for key, sign in (("prefer", 1.0), ("avoid", -1.0)):
        for name, weight in reader.mapping(then.get(key), (*path, key)).items():
            spot = (*path, key, name)
            if not is_number(weight) or weight <= 0:
                reader.add(spot, f"weight {weight!r}", "A weight is a number above 0.")
            elif reader.strategy(name, spot):
                weights[name] = weights.get(name, 0.0) + sign * weight
    return weights


def _texts(
    reader: _Reader, then: Mapping[str, Any], path: Path_, key: str, known: Mapping[str, Any]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, text in reader.mapping(then.get(key), (*path, key)).items():
        spot = (*path, key, name)
        if name not in known:
            what = f"{key} for {name!r}, which is not known"
            reader.add(spot, what, "", near_match(str(name), known))
        else:
            texts[name] = reader.text(text, spot)
    return texts


def _changes(reader: _Reader, then: Mapping[str, Any], path: Path_) -> tuple[Change, ...]:
    found: list[Change] = []
    for name, data in reader.mapping(then.get("parameters"), (*path, "parameters")).items():
        spot = (*path, "parameters", name)
        strategy, dot, parameter = str(name).partition(".")
        if not dot:
            fix = "Write 'lora.learning_rate', or '*.learning_rate' for every strategy."
            reader.add(spot, f"{name!r} does not name a strategy's parameter", "", fix)
            continue
        if strategy != EVERY and not reader.strategy(strategy, spot):
            continue
        targets = _targets(reader, strategy, parameter)
        if not targets:
            known = {p for s in reader.strategies.values() for p in s.parameters}
            if strategy != EVERY:
                known = set(reader.strategies[strategy].parameters)
            what = f"{strategy} has no parameter {parameter!r}"
            reader.add(spot, what, "", near_match(parameter, known))
            continue
        change = _change(reader, strategy, parameter, reader.mapping(data, spot), spot)
        for target in targets:
            _check_change(reader, change, target, spot)
        found.append(change)
    return tuple(found)


def _targets(reader: _Reader, strategy: str, parameter: str) -> list[Parameter]:
    return [
        declared.parameters[parameter].parameter
        for name, declared in reader.strategies.items()
        if strategy in (EVERY, name) and parameter in declared.parameters
    ]


def _change(
    reader: _Reader, strategy: str, parameter: str, data: Mapping[str, Any], path: Path_
) -> Change:
    for key in data:
        if key not in CHANGE_KEYS:
            fix = near_match(str(key), CHANGE_KEYS)
            reader.add((*path, key), f"there is no change {key!r}", "", fix)
    if not data:
        reader.add(path, "no change is given", "", f"Known: {', '.join(CHANGE_KEYS)}.")
    spans: dict[str, tuple[float, float] | None] = {
        key: pair(data[key], reader.document, (*path, key), reader.problems)
        for key in ("range", "narrow", "widen")
        if key in data
    }
    scale = data.get("scale")
    if scale is not None and (not is_number(scale) or scale <= 0):
        reader.add((*path, "scale"), f"scale = {scale!r}", "It must be a number above 0.")
        scale = None
    choices = data.get("choices")
    return Change(
        strategy=strategy,
        parameter=parameter,
        span=spans.get("range"),
        narrow=spans.get("narrow"),
        widen=spans.get("widen"),
        scale=scale,
        default=data.get("default"),
        default_from=_default_from(reader, data.get("default_from"), (*path, "default_from")),
        choices=tuple(choices) if isinstance(choices, list) else None,
        prior=parse_prior(data.get("prior"), reader.document, (*path, "prior"), reader.problems),
        searched=data.get("searched"),
    )


def _default_from(reader: _Reader, data: Any, path: Path_) -> tuple[str, float] | None:
    if data is None:
        return None
    if (
        not isinstance(data, Mapping)
        or set(data) != {"fact", "times"}
        or not is_number(data["times"])
    ):
        reader.add(path, f"default_from = {data!r}", "", "Write {fact: NAME, times: 0.1}.")
        return None
    fact = FACTS.get(data["fact"])
    if fact is None or fact.kind != "number":
        numbers = [name for name, known in FACTS.items() if known.kind == "number"]
        what = f"{data['fact']!r} is not a fact with a number"
        reader.add(path, what, "", near_match(str(data["fact"]), numbers))
        return None
    return data["fact"], float(data["times"])


def _check_change(reader: _Reader, change: Change, target: Parameter, path: Path_) -> None:
    """A change must stay within what the strategy's file allows."""
    if target.kind == "categorical":
        allowed = target.allowed_choices or ()
        wanted = [*(change.choices or ()), *([] if change.default is None else [change.default])]
        for value in wanted:
            if value not in allowed:
                fix = near_match(str(value), [str(choice) for choice in allowed])
                reader.add(path, f"{change.parameter} is never {value!r}", "", fix)
        if change.span or change.narrow or change.widen or change.scale:
            reader.add(path, f"{change.parameter} has choices, not a range", "", "Use choices.")
        return
    low, high = target.allowed_low, target.allowed_high
    assert low is not None
    assert high is not None
    numbers = [
        *(value for span in (change.span, change.widen) if span for value in span),
        *([] if change.default is None else [change.default]),
    ]
    for value in numbers:
        if not is_number(value) or not low <= float(value) <= high:
            why = f"{change.parameter} is allowed from {low:g} to {high:g}."
            reader.add(path, f"{change.parameter} = {value!r}", why)
    inside = change.span
    given = change.default is not None and is_number(change.default)
    if inside and given and not inside[0] <= float(change.default or 0) <= inside[1]:
        why = f"It must lie within the range {inside[0]:g} to {inside[1]:g}."
        reader.add(path, f"default = {change.default!r}", why)
