from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from sweeper import resources
from sweeper.planning.rulebook.rules import rule_book
from sweeper.planning.rulebook.schema import parameters_schema, rules_schema, strategy_schema

RULES = sorted((resources.search_spaces() / "rules").glob("**/*.yaml"))
PARAMETERS = sorted((resources.search_spaces() / "parameters").glob("**/*.yaml"))
STRATEGIES = sorted((resources.search_spaces() / "strategies").glob("**/*.yaml"))


def test_there_are_files_to_check() -> None:
    assert RULES
    assert PARAMETERS
    assert STRATEGIES


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
