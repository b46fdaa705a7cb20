from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from sweeper import resources
from sweeper.features.schemas._schemas import (
    condition_schema,
    parameters_schema,
    rules_schema,
    strategy_schema,
    sweep_schema,
)
from sweeper.planning.rulebook.book import rule_book
from sweeper.planning.rulebook.conditions import parse_condition
from sweeper.planning.rulebook.fact_table import FACTS

RULES = sorted((resources.search_spaces() / "rules").glob("**/*.yaml"))
PARAMETERS = sorted((resources.search_spaces() / "parameters").glob("**/*.yaml"))
STRATEGIES = sorted((resources.search_spaces() / "strategies").glob("**/*.yaml"))


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def rules() -> jsonschema.Draft202012Validator:
    return validator(rules_schema(rule_book()))


@pytest.fixture(scope="module")
def strategies() -> jsonschema.Draft202012Validator:
    return validator(strategy_schema())


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_every_shipped_rule_file_fits_the_schema(rules: Any, path: Any) -> None:
    assert [*rules.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", STRATEGIES, ids=lambda path: path.stem)
def test_every_shipped_strategy_file_fits_the_schema(strategies: Any, path: Any) -> None:
    assert [*strategies.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", PARAMETERS, ids=lambda path: path.stem)
def test_every_file_of_shared_parameters_fits_the_schema(path: Any) -> None:
    found = validator(parameters_schema())
    assert [*found.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Not An Id"},
        {"when": {"exampels": {"min": 1}}},
        {"when": {"task": "cod"}},
        {"then": {"gap": {"lroa": {"points": 1, "sd": 1}}}},
        {"then": {"leave_out": ["lroa"]}},
        {"then": {"parameters": {"lora.rank": {"default": 1}}}},
        {"then": {"parameters": {"lora.r": {"*target": "lora.r"}}}},
        {"then": {}},
        {"then": {"warn": "x"}},
        {"sorce": "me"},
    ],
)
def test_an_editor_sees_the_mistake(rules: Any, change: dict[str, Any]) -> None:
    gap = {"gap": {"lora": {"points": 1, "sd": 1}}}
    rule = {"id": "a", "title": "A", "then": gap, "why": "b", "source": "c"}
    rules.validate([rule, {"id": "b", "advice": "x", "source": "c"}])
    with pytest.raises(jsonschema.ValidationError):
        rules.validate([rule | change])


def test_every_key_of_the_schema_has_a_description() -> None:
    def keys(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict):
            for name, one in node.get("properties", {}).items():
                yield ".".join((*path, name)), one
            for name, child in node.items():
                yield from keys(
                    child, (*path, name) if name not in ("properties", "$defs") else path
                )
        elif isinstance(node, list):
            for child in node:
                yield from keys(child, path)

    found = dict(keys(sweep_schema()))
    assert len(found) > 80
    assert [key for key, one in found.items() if not one.get("description")] == []
    assert "parameters" in found


def test_the_schema_takes_every_form_of_a_parameter() -> None:
    check = jsonschema.Draft202012Validator(sweep_schema())
    for form in (32, "adafactor", [8, 16], {"low": 1, "high": 2, "log": True}, {"default": 3}):
        given = {"task": "code", "model": "7B", "parameters": {"lora": {"r": form}}}
        assert list(check.iter_errors(given)) == []
    for wrong in ({"lora": {"r": {"min": 1}}}, {"loar": {"r": 8}}, {"lora": {"r": []}}):
        assert list(check.iter_errors({"task": "code", "model": "7B", "parameters": wrong}))


BOUNDS = (
    *(True, None, 0, 2.5, "code", "cod", "", [], ["code"], [1, 2], [True], {}),
    *({"min": 1}, {"min": True}, {"max": "a"}, {"equals": None}, {"in": "code"}, {"in": []}),
    *({"in": ["code"]}, {"known": True}, {"known": 1}, {"contains": "a"}, {"contains": 1}),
    *({"in_": ["code"]}, {"above": 1, "below": 3}, {"mni": 1}, [["code"]], [{"task": "code"}]),
)


@pytest.mark.parametrize("key", [*FACTS, "wat", "all", "any", "not", "not_"])
def test_the_schema_and_the_parser_agree_on_mistakes(key: str) -> None:
    schema = condition_schema()
    accepted = jsonschema.Draft202012Validator(schema | {"$defs": {"When": schema}})
    for bound in BOUNDS:
        if accepted.is_valid({key: bound}):
            parse_condition({key: bound})
        else:
            with pytest.raises(ValidationError):
                parse_condition({key: bound})
