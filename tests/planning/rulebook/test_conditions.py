from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sweeper.errors import Problem
from sweeper.planning.rulebook.conditions import (
    ALWAYS,
    Condition,
    FactComparison,
    Group,
    comparisons,
    parse_condition,
    written_condition,
)
from sweeper.planning.rulebook.fact import Fact
from sweeper.planning.rulebook.fact_table import FACTS
from sweeper.yaml_models import checked
from sweeper.yamlfile import Document, parse

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
        ("examples: {min: many}", 1, "valid number"),
        ("task: {min: 3}", 1, "there is no key 'min' here"),
        ("task: cod", 1, "Did you mean 'code'?"),
        ("bf16: 3", 1, "valid boolean"),
        ("classes: {known: 1}", 1, "valid boolean"),
        ("task: {in: code}", 1, "valid tuple"),
        ("not: 3", 1, "is not a mapping"),
        ("all:\n  - task: code\n  - wat: 1", 3, "there is no key 'wat' here"),
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


def test_a_condition_reads_as_words() -> None:
    found, _ = condition("{examples: {min: 10000}, any: [{task: code}, {not: {bf16: true}}]}")
    text = str(found)
    assert text == (
        "there are at least 10,000 examples, and "
        "(the task is code, or matrix products in bfloat16 are not faster)"
    )
    assert str(ALWAYS) == "always"
    ranged = parse_condition({"examples": {"min": 1000, "below": 10000}, "bf16": True})
    assert str(ranged) == (
        "there are at least 1,000 and under 10,000 examples, and "
        "matrix products in bfloat16 are faster"
    )
    three = parse_condition({"task": ["code", "domain", "instruction"]})
    assert str(three) == "the task is code, domain or instruction"
    model = parse_condition({"model_kind": "encoder", "parameters_billion": {"max": 0.5}})
    assert str(model) == "the model is an encoder and has at most 0.5B parameters"
    near = parse_condition({"domain_distance": ["near", "far"]})
    assert str(near) == "the data are near to or far from general text"
    both = parse_condition({"rows": {"min": 3, "max": 9}})
    assert str(both) == "all splits together have at least 3 and at most 9 rows"
    own = {"any": [{"epochs_wanted": {"known": False}}, {"epochs_wanted": {"max": 5}}]}
    assert str(parse_condition(own)) == "--epochs is not given or at most 5"
    assert str(parse_condition({"duplicate_share": {"above": 0.05}})).startswith("over 5% of")
    assert [test.fact for test in comparisons(found)] == ["examples", "task", "bf16"]


@pytest.mark.parametrize("fact", FACTS.values(), ids=list(FACTS))
def test_every_fact_has_words_for_its_conditions(fact: Fact) -> None:
    if fact.kind == "flag":
        assert fact.clause != fact.otherwise
    else:
        assert fact.clause.count("{}") == 1
    assert "{" not in fact.description


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


BOUNDS = (
    *(True, None, 0, 2.5, "code", "cod", "", [], ["code"], [1, 2], [True], ("code",), {}),
    *({"min": 1}, {"min": True}, {"max": "a"}, {"equals": None}, {"in": "code"}, {"in": []}),
    *({"in": ["code"]}, {"known": True}, {"known": 1}, {"contains": "a"}, {"contains": 1}),
    *({"in_": ["code"]}, {"above": 1, "below": 3}, {"mni": 1}, [["code"]], [{"task": "code"}]),
)


@pytest.mark.parametrize("key", [*FACTS, "wat", 1, "all", "any", "not", "not_"])
def test_the_quick_look_and_the_model_agree_on_mistakes(key: str) -> None:
    accepted = TypeAdapter(written_condition())
    for bound in BOUNDS:
        written = {key: bound}
        try:
            accepted.validate_python(written)
        except ValidationError:
            with pytest.raises(ValidationError):
                parse_condition(written)
        else:
            parse_condition(written)
