"""JSON Schema for rule files and strategy files, so that editors complete and check them.

Made from the same tables that the loaders check against; the loaders check more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sweeper.declared.traits import traits_schema
from sweeper.planning.rulebook.effects import CHANGE_KEYS, EVERY, QUESTIONS, THEN_KEYS
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.named_facts import Fact
from sweeper.planning.rulebook.parameter_reader import KINDS, PARAMETER_KEYS
from sweeper.planning.rulebook.rules import RULE_KEYS, RuleBook
from sweeper.planning.rulebook.strategy_files import STRATEGY_KEYS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER = {"type": "number"}
_TEXT = {"type": "string", "minLength": 1}
_PAIR = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_SCALAR = {"type": ["string", "number", "boolean"]}
_SCALARS = {"type": "array", "items": _SCALAR, "minItems": 1}
_WHEN = {"$ref": "#/$defs/when"}


def rules_schema(book: RuleBook) -> dict[str, Any]:
    """The schema of a file of rules, for the strategies and parameters that a rule book knows."""
    rule = _closed(
        {
            "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
            "title": _TEXT,
            "when": _WHEN,
            "then": _then(book),
            "why": _TEXT,
            "source": _TEXT,
        },
        ("id", "title", "then", "why", "source"),
    )
    assert set(rule["properties"]) == set(RULE_KEYS)
    return {
        "$schema": _DRAFT,
        "title": "Rules of sweeper",
        "type": "array",
        "items": rule,
        "$defs": {"when": _when()},
    }


def strategy_schema() -> dict[str, Any]:
    """The schema of a strategy file."""
    requirement = _closed(
        {"when": _WHEN, "otherwise": _TEXT, "source": _TEXT}, ("when", "otherwise", "source")
    )
    optimizer = _closed({"when": _WHEN, "use": _TEXT}, ("use",))
    properties = {
        "strategy": _TEXT,
        "title": _TEXT,
        "what": _TEXT,
        **traits_schema(),
        "order": {"type": "integer"},
        "begins_as_base": {"type": "boolean"},
        "extends": _TEXT,
        "requires": {"type": "array", "items": requirement},
        "quality": _closed({"text": _TEXT, "source": _TEXT}, ("text", "source")),
        "quantization": _TEXT,
        "optimizers": {"type": "array", "items": optimizer},
        "gradient_checkpointing": {"type": "boolean"},
        "parameters": {"type": "object", "additionalProperties": _parameter()},
    }
    assert set(properties) == set(STRATEGY_KEYS)
    return {
        "$schema": _DRAFT,
        "title": "A strategy of sweeper",
        **_closed(properties, ("strategy", "title", "what", "quality", "parameters")),
        "$defs": {"when": _when()},
    }


def _closed(properties: dict[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _when() -> dict[str, Any]:
    joined = {"type": "array", "items": _WHEN, "minItems": 1}
    properties = {name: _fact(fact) for name, fact in FACTS.items()}
    return _closed({**properties, "all": joined, "any": joined, "not": _WHEN})


def _fact(fact: Fact) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "string"}
    if fact.words:
        one = {"enum": list(fact.words)}
    elif fact.kind == "flag":
        one = {"type": "boolean"}
    elif fact.kind == "number":
        one = _NUMBER
    tests: dict[str, Any] = {"equals": one, "known": {"type": "boolean"}}
    tests["in"] = {"type": "array", "items": one, "minItems": 1}
    if fact.kind == "number":
        tests |= dict.fromkeys(("min", "max", "above", "below"), _NUMBER)
    if fact.kind == "words":
        tests["contains"] = {"type": "string"}
    unit = f" ({fact.unit})" if fact.unit else ""
    return {
        "description": f"{fact.description}{unit}",
        "anyOf": [one, tests["in"], _closed(tests)],
    }


def _then(book: RuleBook) -> dict[str, Any]:
    weight = {"type": "number", "exclusiveMinimum": 0}
    weights = _closed(dict.fromkeys(book.strategies, weight))
    names = {"type": "array", "items": {"enum": list(book.strategies)}}
    every = {name for strategy in book.strategies.values() for name in strategy.parameters}
    keys = [f"{EVERY}.{name}" for name in sorted(every)]
    keys += [f"{s.name}.{name}" for s in book.strategies.values() for name in s.parameters]
    properties = {
        "prefer": weights,
        "avoid": weights,
        "exclude": names,
        "leave_out": names,
        "parameters": _closed({key: _change() for key in keys}),
        "warn": _TEXT,
        "advise": _TEXT,
        "caution": _closed(dict.fromkeys(book.strategies, _TEXT)),
        "answer": _closed(dict.fromkeys(QUESTIONS, _TEXT)),
    }
    assert set(properties) == set(THEN_KEYS)
    return _closed(properties) | {"minProperties": 1}


def _change() -> dict[str, Any]:
    numbers = [name for name, fact in FACTS.items() if fact.kind == "number"]
    properties = {
        "range": _PAIR,
        "narrow": _PAIR,
        "widen": _PAIR,
        "scale": {"type": "number", "exclusiveMinimum": 0},
        "default": _SCALAR,
        "default_from": _closed({"fact": {"enum": numbers}, "times": _NUMBER}, ("fact", "times")),
        "choices": _SCALARS,
        "prior": _prior(),
        "searched": {"type": "boolean"},
    }
    assert set(properties) == set(CHANGE_KEYS)
    return _closed(properties) | {"minProperties": 1}


def _prior() -> dict[str, Any]:
    return {
        "anyOf": [
            _closed({"center": _NUMBER, "spread": _NUMBER}, ("center", "spread")),
            _closed({"weights": {"type": "array", "items": _NUMBER}}, ("weights",)),
        ]
    }


def _parameter() -> dict[str, Any]:
    condition = _closed({"parameter": _TEXT, "values": _SCALARS}, ("parameter", "values"))
    properties = {
        "kind": {"enum": list(KINDS)},
        "range": _PAIR,
        "allowed": _PAIR,
        "log": {"type": "boolean"},
        "choices": _SCALARS,
        "allowed_choices": _SCALARS,
        "default": _SCALAR,
        "prior": _prior(),
        "condition": condition,
        "when": _WHEN,
        "unit": {"type": "string"},
        "source": _TEXT,
        "why": _TEXT,
        "searched": {"type": "boolean"},
    }
    assert set(properties) == set(PARAMETER_KEYS)
    return _closed(properties, ("kind", "default", "source", "why"))
