from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweeper.errors import Problem
from sweeper.planning.rulebook.conditions import (
    ALWAYS,
    Condition,
    FactComparison,
    Group,
    comparisons,
    parse_condition,
)
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.yamlfile import Document, checked, parse

KNOWN: dict[str, Any] = dict.fromkeys(FACTS) | {
    "examples": 1000,
    "task": "code",
    "bf16": True,
    "strategies": ("lora", "full"),
}


CONDITION: TypeAdapter[FactComparison | Group] = TypeAdapter(Condition)


def condition(text: str) -> tuple[FactComparison | Group, list[Problem]]:
    document = parse(text, "rules.yaml")
    problems: list[Problem] = list(document.problems)
    return checked(CONDITION, document, (), problems) or ALWAYS, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("examples: {min: 1000}", True),
        ("examples: {above: 1000}", False),
        ("examples: {max: 1000}", True),
        ("examples: {below: 1000}", False),
        ("examples: {min: 500, below: 2000}", True),
        ("examples: 1000", True),
        ("task: [code, domain]", True),
        ("task: {in: [domain]}", False),
        ("bf16: true", True),
        ("strategies: {contains: full}", True),
        ("strategies: {contains: head}", False),
        ("classes: {known: false}", True),
        ("classes: {min: 2}", None),
        ("not: {task: code}", False),
        ("not: {classes: {min: 2}}", None),
        ("all: [{task: code}, {classes: {min: 2}}]", None),
        ("all: [{task: domain}, {classes: {min: 2}}]", False),
        ("any: [{task: code}, {classes: {min: 2}}]", True),
        ("any: [{task: domain}, {classes: {min: 2}}]", None),
        ("{}", True),
    ],
)
def test_a_condition_is_true_false_or_unknown(text: str, expected: bool | None) -> None:
    found, problems = condition(text)
    assert not problems
    assert found.holds(KNOWN) is expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("task: code\nexamples_: {min: 1}", 2, "Did you mean 'examples'?"),
        ("examples: {mni: 1}", 1, "Did you mean 'min'?"),
        ("examples: {min: many}", 1, "must be a number"),
        ("task: {min: 3}", 1, "there is no key 'min' here"),
        ("task: cod", 1, "Did you mean 'code'?"),
        ("bf16: 3", 1, "true or false"),
        ("classes: {known: 1}", 1, "true or false"),
        ("task: {in: code}", 1, "must be a list"),
        ("strategies: lora", 1, "Write {contains: value}."),
        ("strategies: [lora, full]", 1, "strategies has several values"),
        ("strategies: {equals: lora}", 1, "Write {contains: value}."),
        ("strategies: {in: [lora]}", 1, "Write {contains: value}."),
        ("not: 3", 1, "is not a mapping"),
        ("all:\n  - task: code\n  - wat: 1", 3, "there is no fact 'wat'"),
        ("- task", 1, "is not a mapping"),
    ],
)
def test_a_mistake_is_reported_with_its_line(text: str, line: int, words: str) -> None:
    _, problems = condition(text)
    assert len(problems) == 1
    assert problems[0].where.startswith(f"rules.yaml:{line}")
    assert words in str(problems[0])


def test_a_tag_that_would_run_code_is_refused() -> None:
    _, problems = condition("examples: !!python/object/apply:os.system ['true']")
    assert any("is not allowed" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ({}, "always"),
        ({"memory_gib": {"below": 24}}, "memory_gib < 24"),
        ({"task": "classification"}, "task = classification"),
        ({"task": ["code", "domain"]}, "task in [code, domain]"),
        ({"rows_per_class": {"known": True}}, "rows_per_class known"),
        ({"classes": {"known": False}}, "classes unknown"),
        ({"rows": {"min": 10, "max": 90}}, "rows >= 10 and rows <= 90"),
        ({"examples": {"below": 9000}}, "examples < 9,000 rows"),
        ({"duplicate_share": {"above": 0.05}}, "duplicate_share > 5%"),
        ({"strategies": {"contains": "lora"}}, "strategies contains lora"),
        ({"bf16": True, "new_head": False}, "bf16 and not new_head"),
        ({"not": {"classes": {"min": 3}}}, "classes < 3"),
        ({"not": {"classes": {"known": True}}}, "classes unknown"),
        ({"not": {"classes": 3}}, "classes != 3"),
        ({"not": {"task": ["code", "domain"]}}, "task not in [code, domain]"),
        ({"not": {"any": [{"bf16": True}, {"gpus": 1}]}}, "not (bf16 or gpus = 1)"),
        ({"gpus": 1, "any": [{"rows": 9}, {"bf16": True}]}, "gpus = 1 and (rows = 9 or bf16)"),
    ],
)  # fmt: skip
def test_a_condition_is_shown_as_a_condition(written: Any, shown: str) -> None:
    assert str(parse_condition(written)) == shown


def test_comparisons_are_in_the_order_of_the_file() -> None:
    found, _ = condition("{examples: {min: 10000}, any: [{task: code}, {not: {bf16: true}}]}")
    assert [test.fact for test in comparisons(found)] == ["examples", "task", "bf16"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*FACTS, "all", "any", "not", "min", "?"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_data_gives_a_condition_and_problems_never_an_exception(data: Any) -> None:
    problems: list[Problem] = []
    found = checked(CONDITION, Document("wild.yaml", data), (), problems)
    assert (found is None) == bool(problems)
    assert found is None or found.holds(KNOWN) in (True, False, None)
