"""Reading one hyperparameter from a strategy file into a ``Parameter``, bounds checked.

Knows the format, not which values are wise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.plan import Condition, Parameter, Prior
from sweeper.spec import Scalar
from sweeper.yamlfile import Document, Path_

KINDS = ("float", "int", "categorical")
PARAMETER_KEYS = (
    "kind",
    "range",
    "allowed",
    "log",
    "choices",
    "allowed_choices",
    "default",
    "prior",
    "condition",
    "when",
    "unit",
    "source",
    "why",
    "searched",
)


def parse_parameter(
    item: Mapping[str, Any], document: Document, path: Path_, problems: list[Problem]
) -> Parameter | None:
    """One parameter; None if its problems (appended with file and line) leave no sense in it."""
    before = len(problems)
    kind = item.get("kind")
    if kind not in KINDS:
        where = document.where((*path, "kind"))
        problems.append(Problem(f"kind = {kind!r}", "", near_match(str(kind), KINDS), where))
        return None
    fields: dict[str, Any] = {
        "kind": kind,
        "default": item["default"],
        "unit": str(item.get("unit", "")),
        "source": str(item["source"]),
        "why": str(item["why"]),
        "searched": bool(item.get("searched", True)),
        "prior": parse_prior(item.get("prior"), document, (*path, "prior"), problems),
        "condition": _condition(item.get("condition"), document, path, problems),
    }
    if kind == "categorical":
        fields |= _choices(item, document, path, problems)
    else:
        fields |= _bounds(item, document, path, problems)
    return None if len(problems) > before else Parameter(**fields)


def parse_prior(
    data: Any, document: Document, path: Path_, problems: list[Problem]
) -> Prior | None:
    """A prior: ``{center, spread}`` for numbers, ``{weights}`` for choices."""
    if data is None:
        return None
    good = isinstance(data, Mapping) and (
        (set(data) == {"center", "spread"} and all(is_number(v) for v in data.values()))
        or (set(data) == {"weights"} and all(is_number(v) for v in data["weights"]))
    )
    if not good:
        fix = "Write {center: 2e-4, spread: 0.3} or {weights: [1, 2]}."
        problems.append(Problem(f"prior = {data!r}", "", fix, document.where(path)))
        return None
    if "weights" in data:
        return Prior(weights=tuple(data["weights"]))
    return Prior(center=data["center"], spread=data["spread"])


def pair(
    value: Any, document: Document, path: Path_, problems: list[Problem]
) -> tuple[float, float] | None:
    """``[low, high]`` with low <= high."""
    if isinstance(value, list) and len(value) == 2 and all(is_number(v) for v in value):
        if value[0] <= value[1]:
            return value[0], value[1]
        what = f"low <= high must hold, but got [{value[0]}, {value[1]}]"
        problems.append(Problem(what, where=document.where(path)))
        return None
    fix = "Write [low, high]."
    problems.append(Problem(f"{path[-1]} = {value!r}", "", fix, document.where(path)))
    return None


def is_number(value: Any) -> bool:
    """A number that is not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounds(
    item: Mapping[str, Any], document: Document, path: Path_, problems: list[Problem]
) -> dict[str, Any]:
    inner = pair(item.get("range"), document, (*path, "range"), problems)
    outer = inner
    if "allowed" in item:
        outer = pair(item["allowed"], document, (*path, "allowed"), problems)
    if inner is None or outer is None:
        return {}
    where = document.where((*path, "range"))
    if not (outer[0] <= inner[0] and inner[1] <= outer[1]):
        why = f"The allowed range is {outer[0]:g} to {outer[1]:g}."
        problems.append(Problem(f"range {inner[0]:g} to {inner[1]:g} leaves it", why, "", where))
    default = item["default"]
    if not is_number(default) or not inner[0] <= default <= inner[1]:
        why = f"It must lie within the range {inner[0]:g} to {inner[1]:g}."
        spot = document.where((*path, "default"))
        problems.append(Problem(f"default = {default!r}", why, "", spot))
    log = bool(item.get("log", False))
    if log and outer[0] <= 0:
        problems.append(Problem(f"log with allowed low = {outer[0]:g}", "", "", where))
    return {
        "low": inner[0],
        "high": inner[1],
        "allowed_low": outer[0],
        "allowed_high": outer[1],
        "log": log,
    }


def _choices(
    item: Mapping[str, Any], document: Document, path: Path_, problems: list[Problem]
) -> dict[str, Any]:
    choices = item.get("choices")
    allowed = item.get("allowed_choices", choices)
    for key, value in (("choices", choices), ("allowed_choices", allowed)):
        if not isinstance(value, list) or not value:
            fix = "Write [a, b]."
            where = document.where((*path, key))
            problems.append(Problem(f"{key} = {value!r}", "", fix, where))
            return {}
    missing = [choice for choice in choices or () if choice not in allowed]
    if missing:
        where = document.where((*path, "choices"))
        problems.append(Problem(f"{missing!r} is not among allowed_choices", where=where))
    if item["default"] not in (choices or ()):
        where = document.where((*path, "default"))
        fix = near_match(str(item["default"]), [str(choice) for choice in choices or ()])
        problems.append(Problem(f"default = {item['default']!r}", "", fix, where))
    return {"choices": tuple(choices or ()), "allowed_choices": tuple(allowed)}


def _condition(
    data: Any, document: Document, path: Path_, problems: list[Problem]
) -> Condition | None:
    if data is None:
        return None
    if isinstance(data, Mapping) and set(data) == {"parameter", "values"}:
        values: tuple[Scalar, ...] = tuple(data["values"])
        return Condition(parameter=str(data["parameter"]), values=values)
    fix = "Write {parameter: head_init, values: [random]}."
    where = document.where((*path, "condition"))
    problems.append(Problem(f"condition = {data!r}", "", fix, where))
    return None
