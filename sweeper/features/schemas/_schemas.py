"""JSON Schemas of ``sweep.yaml``, rules, strategies, shared parameters and ``--json`` outputs.

A file that fits its schema may still be refused: its loader checks more.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from pydantic import TypeAdapter

from sweeper.features import parts
from sweeper.findings.findings import Findings
from sweeper.planning.rulebook.book import Note, Rule, RuleBook
from sweeper.planning.rulebook.conditions import SCHEMA_MARK, operators
from sweeper.planning.rulebook.effects import EVERY
from sweeper.planning.rulebook.fact import Fact
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.planning.rulebook.strategy_files import SHARED, BookParameter, BookStrategy
from sweeper.plans import Plan
from sweeper.spec import Spec
from sweeper.traits.traits import TRAIT_KEYS, Traits

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def sweep_schema() -> dict[str, Any]:
    """The schema of ``sweep.yaml``, including short forms such as ``model: X``."""
    schema = Spec.model_json_schema()
    properties = schema["properties"]
    properties["model"] = {"description": "the base model"}
    for key, name in (("model", "Model"), ("data", "Data"), ("objective", "Objective")):
        short_form = {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{name}Spec"}]}
        properties[key] = {"description": properties[key]["description"], **short_form}
    properties["models"]["items"] = {"anyOf": properties["model"]["anyOf"]}
    return {
        **schema,
        "required": ["task"],
        "anyOf": [{"required": ["model"]}, {"required": ["models"]}],
        "$schema": _DRAFT,
        "title": "sweep.yaml",
    }


def rules_schema(book: RuleBook) -> dict[str, Any]:
    """The schema of a file of rules, with the strategies and parameters of a rule book."""
    schema = _schema(tuple[Rule | Note, ...], "Rules of sweeper")
    parameter_keys = {
        f"{prefix}.{name}"
        for strategy in book.strategies.values()
        for name in strategy.parameters
        for prefix in (EVERY, strategy.name)
    }
    numbers = [name for name, fact in FACTS.items() if fact.kind == "number"]
    names_by_type = {
        "StrategyName": [*book.strategies],
        "ParameterName": sorted(parameter_keys),
        "NumberFact": numbers,
    }
    for type_name, allowed_names in names_by_type.items():
        schema["$defs"][type_name]["enum"] = allowed_names
    for type_name in ("Effects", "Change"):
        schema["$defs"][type_name]["minProperties"] = 1
    return schema


def strategy_schema() -> dict[str, Any]:
    """The schema of a strategy file."""
    schema = _schema(BookStrategy, "A strategy of sweeper")
    parameters = schema["properties"]["parameters"]
    full_definition = parameters["additionalProperties"]
    changes_of_shared = [
        _change_schema(schema["$defs"][name]) for name in ("NumberParameter", "ChoiceParameter")
    ]
    parameters["additionalProperties"] = {
        "anyOf": [{"const": SHARED}, full_definition, *changes_of_shared]
    }
    traits = Traits.model_json_schema()
    schema["properties"] |= {key: traits["properties"][key] for key in TRAIT_KEYS}
    schema["$defs"] |= traits["$defs"]
    schema["required"].remove("parameters")  # a strategy may take all of them from another one
    return schema


def parameters_schema() -> dict[str, Any]:
    """The schema of a file of shared parameters."""
    return _schema(dict[str, BookParameter], "Shared parameters of sweeper")


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output of each command whose packages are installed."""
    types: dict[str, Any] = {"plan": Plan, "run": Findings, "report": Findings}
    for _, hook in parts.ANSWERS.all():
        with contextlib.suppress(ModuleNotFoundError):
            types |= hook()
    return types


def answer_schema(command: str) -> dict[str, Any]:
    """The schema of the ``--json`` output of a command."""
    schema = TypeAdapter(answers()[command]).json_schema(mode="serialization")
    return {"$schema": _DRAFT, **schema, "title": f"sweeper {command} --json"}


def _schema(kind: Any, title: str) -> dict[str, Any]:
    """The schema of a type, with conditions as references to ``condition_schema``."""
    schema = TypeAdapter(kind).json_schema()
    schema = json.loads(json.dumps(schema), object_hook=_condition_reference)
    schema.setdefault("$defs", {})["When"] = condition_schema()
    return {"$schema": _DRAFT, **schema, "title": title}


def _condition_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself; for a condition, the reference to the one schema of conditions."""
    return {"$ref": "#/$defs/When"} if schema.get("title") == SCHEMA_MARK else schema


def _change_schema(parameter: dict[str, Any]) -> dict[str, Any]:
    """The schema of a strategy's changes to a shared parameter."""
    properties = parameter["properties"] | {SHARED: {"const": True}}
    return parameter | {"properties": properties, "required": [SHARED]}


def condition_schema() -> dict[str, Any]:
    """The schema of a condition (``when``), which refers to itself as ``#/$defs/When``."""
    condition_reference = {"$ref": "#/$defs/When"}
    list_schema = {"type": "array", "items": condition_reference, "minItems": 1}
    facts = {fact.name: _fact_schema(fact) for fact in FACTS.values()}
    properties = {**facts, "all": list_schema, "any": list_schema, "not": condition_reference}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _fact_schema(fact: Fact) -> dict[str, Any]:
    """The schema of a condition on one fact: a value, a list of values, or comparisons."""
    types = {"flag": "boolean", "number": "number"}
    value: dict[str, Any] = {"type": types.get(fact.kind, "string")}
    if fact.words:
        value["enum"] = [*fact.words]
    list_schema = {"type": "array", "items": value, "minItems": 1}
    bounds = {"known": {"type": "boolean"}, "in": list_schema}
    comparisons = {operator: bounds.get(operator, value) for operator in operators(fact)}
    mapping = {"type": "object", "properties": comparisons, "additionalProperties": False}
    unit = f" ({fact.unit})" if fact.unit else ""
    short_forms = [value, list_schema] if "equals" in comparisons else []
    return {"anyOf": [*short_forms, mapping], "description": f"{fact.description}{unit}"}
