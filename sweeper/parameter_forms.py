"""The forms of ``parameters:`` in ``sweep.yaml``: from short ones to ``ParameterSpec`` and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sweeper.errors import Problem, near_match
from sweeper.hyperparameters import TARGETS, is_number
from sweeper.spec import MODULE_PARAMETERS, Declared, ParameterSpec, Scalar
from sweeper.yamlfile import Path_

KEYS = tuple(ParameterSpec.model_fields)
EXAMPLE = "Write a value, a list of choices, or {low: 1e-5, high: 1e-2, log: true}."
#: Keys of other tools (W&B sweeps, Ray Tune, Hydra's sweepers), and what says the same here.
_ELSEWHERE = {
    "min": "low", "max": "high", "lower": "low", "upper": "high", "start": "low", "stop": "high",
    "value": "choices: [...]", "values": "choices", "categories": "choices", "q": "step",
    "distribution": "log: true for a logarithmic scale",
}  # fmt: skip

Where = Callable[[Path_], str]


def spelled_out(written: Any, where: Where, problems: list[Problem]) -> dict[str, Any]:
    """The fields of every declared parameter, by strategy and name.

    Args:
        where: From a path to file and line, or to a flag.
        problems: List to append to; entries with a problem are left out.
    """
    found: dict[str, Any] = {}
    for strategy, items in _mapping(written, ("parameters",), where, problems):
        for name, item in _mapping(items, ("parameters", strategy), where, problems):
            path = ("parameters", strategy, name)
            faults = list(_faults(name, item, path, where))
            problems += faults
            if not faults:
                found.setdefault(strategy, {})[name] = _fields(name, item)
    return found


def shortened(declared: Declared) -> dict[str, Any]:
    """As people write it; ``spelled_out`` gives the same again."""
    return {
        strategy: {name: _short(name, one) for name, one in items.items()}
        for strategy, items in declared.items()
    }


def forms_schema(known: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of one parameter: a value, choices, or the keys of ``ParameterSpec``."""
    scalar = {"type": ["number", "string", "boolean"]}
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    one = {"anyOf": [scalar, names]}
    many = {"type": "array", "items": one, "minItems": 1}
    keys = dict(known["properties"])
    keys["choices"] = {**many, "description": keys["choices"]["description"]}
    forms = [scalar, many, {**known, "properties": keys, "minProperties": 1}]
    return {"anyOf": forms, "description": known["description"]}


def _mapping(
    item: Any, path: Path_, where: Where, problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    if isinstance(item, Mapping) and (item or len(path) == 1):
        yield from ((str(key), value) for key, value in item.items())
        return
    if path != ("parameters",) or item is not None:
        level = "strategies, or 'all'" if len(path) == 1 else "parameters"
        fix = "Write 'lora: {r: [8, 16]}' below 'parameters:'."
        problems.append(Problem(f"this is not a mapping of {level}", "", fix, where(path)))


def _faults(name: str, item: Any, path: Path_, where: Where) -> Iterator[Problem]:
    if not isinstance(item, Mapping):
        yield from _wrong_choices(name, item if isinstance(item, list) else [item], where(path))
        return
    for key in item:
        if key not in KEYS:
            said = _ELSEWHERE.get(str(key))
            fix = f"Here that is {said}." if said else near_match(str(key), KEYS)
            yield Problem(f"there is no key {key!r} here", "", fix, where((*path, str(key))))
            return
    if not item:
        yield Problem(f"{name} declares nothing", "", EXAMPLE, where(path))
    if "choices" in item:
        yield from _wrong_list(name, item, path, where)
    else:
        yield from _wrong_range(name, item, path, where)


def _wrong_list(name: str, item: Mapping[str, Any], path: Path_, where: Where) -> Iterator[Problem]:
    place = where((*path, "choices"))
    also = [key for key in ("low", "high", "log", "step") if key in item]
    if also:
        yield Problem(f"{name} has choices and {also[0]}", "", "Give the one or the other.", place)
    if not isinstance(item["choices"], list):
        yield Problem(f"choices = {item['choices']!r} is not a list", "", EXAMPLE, place)
        return
    wrong = list(_wrong_choices(name, item["choices"], place))
    yield from wrong
    default = item.get("default")
    if default is not None and not wrong:
        choices = [_one(choice) for choice in item["choices"]]
        if _one(default) not in choices:
            fix = near_match(str(default), [str(choice) for choice in choices])
            what = f"default = {default!r} is not among choices"
            yield Problem(what, "", fix, where((*path, "default")))


def _wrong_choices(name: str, choices: list[Any], place: str) -> Iterator[Problem]:
    if not choices:
        yield Problem(f"{name} has no choices", "", EXAMPLE, place)
    lists = name in MODULE_PARAMETERS
    for choice in choices:
        if not (_scalar(choice) or (lists and _names(choice))):
            yield Problem(f"{name} = {choice!r} is no value", "", EXAMPLE, place)
    mixed = [choice for choice in choices if isinstance(choice, str) and choice in TARGETS]
    flat = not any(isinstance(choice, list) for choice in choices)
    if name == "target_modules" and flat and 0 < len(mixed) < len(choices):
        names = ", ".join(str(choice) for choice in choices if choice not in mixed)
        what = f"target_modules = {choices!r} holds names of layers and {mixed[0]!r}"
        fix = f"Write {{choices: [[{names}], {mixed[0]}]}} to choose between them."
        yield Problem(what, "A list of names is one value.", fix, place)


def _wrong_range(
    name: str, item: Mapping[str, Any], path: Path_, where: Where
) -> Iterator[Problem]:
    wrong = False
    for key in ("low", "high", "step"):
        value = item.get(key, 0.0)
        if not is_number(value):
            wrong = True
            yield Problem(f"{key} = {value!r} is not a number", "", EXAMPLE, where((*path, key)))
    if not isinstance(item.get("log", False), bool):
        wrong = True
        what = f"log = {item['log']!r} is neither true nor false"
        yield Problem(what, where=where((*path, "log")))
    default = item.get("default")
    if "default" in item and not _scalar(default):
        wrong = True
        yield Problem(f"default = {default!r} is no value", "", "", where((*path, "default")))
    if not wrong:
        yield from _contradictions(name, item, path, where)


def _contradictions(
    name: str, item: Mapping[str, Any], path: Path_, where: Where
) -> Iterator[Problem]:
    low, high, default = item.get("low"), item.get("high"), item.get("default")
    if low is not None and high is not None and low > high:
        what = f"low <= high must hold, but got low = {low!r}, high = {high!r}"
        yield Problem(what, where=where((*path, "low")))
    elif is_number(default):
        under, above = low is not None and default < low, high is not None and default > high
        if under or above:
            bound = f"low = {low!r}" if under else f"high = {high!r}"
            what = f"default = {default!r} lies {'below' if under else 'above'} {bound}"
            yield Problem(what, "The first trial has the default.", "", where((*path, "default")))
    if item.get("log") and low is not None and low <= 0:
        what = f"log: true with low = {low!r}"
        yield Problem(what, "A logarithmic range begins above 0.", "", where((*path, "low")))
    if item.get("step", 1) <= 0:
        yield Problem(f"step = {item['step']!r} is not above 0", where=where((*path, "step")))
    if item.get("log") and "step" in item:
        why = "Steps of one size do not fit a logarithmic scale."
        yield Problem(f"{name} has log and step", why, "List the choices.", where((*path, "step")))


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, str) for x in value)


def _scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) and value != ""


def _one(value: Any) -> Scalar:
    """One value; a list of names as one string."""
    joined: Scalar = ",".join(value) if isinstance(value, list) else value
    return joined


def _fields(name: str, item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        fields = dict(item)
        if "choices" in fields:
            fields["choices"] = unlike([_one(choice) for choice in fields["choices"]])
        if "default" in fields:
            fields["default"] = _one(fields["default"])
        return fields
    if not isinstance(item, list):
        return {"choices": (item,)}
    one = name in MODULE_PARAMETERS and not any(
        isinstance(part, list) or part in TARGETS for part in item
    )
    return {"choices": unlike([_one(item)] if one else [_one(choice) for choice in item])}


def unlike(choices: Iterable[Scalar]) -> tuple[Scalar, ...]:
    """Each choice once; True and 1 are two."""
    return tuple({(type(choice), choice): choice for choice in choices}.values())


def _short(name: str, one: ParameterSpec) -> Any:
    given = one.model_dump(exclude_none=True)
    choices = given.pop("choices", None)
    if choices is None:
        return given
    if name in MODULE_PARAMETERS:
        choices = [str(choice).split(",") if "," in str(choice) else choice for choice in choices]
    whole = [*choices]
    if given:
        return {"choices": whole, **given}
    if len(whole) == 1:
        return whole[0]
    return whole if name not in MODULE_PARAMETERS else {"choices": whole}
