"""Requests drawn from the whole schema of ``sweep.yaml``: each has a plan or a message."""

import json
import math
import sys

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.cli.main import main
from sweeper.errors import Problem, RuleError
from sweeper.features.schemas._schemas import sweep_schema
from sweeper.planning.rulebook.book import rule_book
from sweeper.plans import Plan
from sweeper.views import plan_view

SCHEMA = sweep_schema()
BASE = {
    "task": "classification",
    "model": "packaged:minilm",
    "data": {"examples": 1000},
    "hardware": {"gpu_memory_gib": 24},
}
HUGE = [1e308, -1e308, math.inf, -math.inf, math.nan, 10**20, 10**400, 5e-324, 0, -1]
WORDS = ["", "x", "null", "../x", "\0", "a\u202eb", "9" * 400, "1e999", "full", "lora"]


def referred(node):
    while "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def numbers(node, path=()):
    """The path and the schema of each number."""
    node = referred(node)
    if node.get("type") in ("number", "integer"):
        yield path, node
    for key, child in node.get("properties", {}).items():
        yield from numbers(child, (*path, key))
    children = [node.get("items"), node.get("additionalProperties"), *node.get("anyOf", ())]
    for child in children:
        if isinstance(child, dict):
            yield from numbers(child, path)


def values(node):
    """Values of a schema, its bounds and what lies outside of them included."""
    node = referred(node)
    if "anyOf" in node:
        return st.one_of([values(child) for child in node["anyOf"] if "required" not in child])
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    match node.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "number" | "integer" as kind:
            bounds = [node[key] for key in ("minimum", "maximum") if key in node]
            drawn = st.integers(-2, 2000) if kind == "integer" else st.floats()
            return st.sampled_from([*bounds, *HUGE]) | drawn
        case "array":
            return st.lists(values(node["items"]), max_size=2)
        case "object":
            return mappings(node)
    return st.sampled_from(WORDS)


def mappings(node):
    named = {key: values(child) for key, child in node.get("properties", {}).items()}
    other = node.get("additionalProperties")
    if not named and isinstance(other, dict):
        keys = st.sampled_from(["rank", "learning_rate", "text", "label", *WORDS])
        return st.dictionaries(keys, values(other), max_size=2)
    needed = {key: named.pop(key) for key in node.get("required", ())}
    few = (
        st.lists(st.sampled_from(sorted(named)), max_size=2, unique=True) if named else st.just([])
    )
    return few.flatmap(
        lambda keys: st.fixed_dictionaries(needed | {key: named[key] for key in keys})
    )


OPTIONAL = {key: node for key, node in SCHEMA["properties"].items() if key != "task"}
REQUESTS = st.lists(st.sampled_from(sorted(OPTIONAL)), min_size=1, max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: values(OPTIONAL[key]) for key in keys})
)


def merged(drawn):
    """The drawn keys over those of a request that has a plan."""
    result = dict(BASE)
    for key, value in drawn.items():
        below = result.get(key)
        result[key] = (
            below | value if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return result


@given(drawn=REQUESTS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_drawn_request_has_a_plan_or_a_message(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(merged(drawn)))
    arguments = ["plan", "sweep.yaml", "-o", "whole.yaml"]
    monkeypatch.setattr(sys, "argv", ["sweeper", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code or 0) in (0, 2, 3), said.err
    if not ended.value.code and "offers" in json.loads(said.out):
        assert "rent" in drawn["features"]  # cards to rent in place of a plan
    elif not ended.value.code:
        plan = Plan.from_json(said.out)
        assert plan.to_json() == said.out
        plan_view.show(plan, verbose=True)
        capsys.readouterr()


def test_every_number_has_bounds():
    found = list(numbers(SCHEMA))
    assert len(found) > 30
    for path, node in found:
        if path[0] in ("trials", "parameters") or path[-1] in ("choices", "default"):
            continue  # the limits of the parameter itself
        assert {"minimum", "exclusiveMinimum"} & node.keys(), path
        assert {"maximum", "exclusiveMaximum"} & node.keys(), path


def test_faults_of_a_rule_folder_are_compared_once_each(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(Problem, "__eq__", lambda one, other: compared.append(1) or one is other)
    rule = "- id: rule-{0}\n  title: x\n  then: {{score: 1}}\n  why: x\n  source: x\n"
    (tmp_path / "rules.yaml").write_text("".join(map(rule.format, range(500))))
    with pytest.raises(RuleError) as caught:
        rule_book((str(tmp_path),))
    assert len(caught.value.problems) >= 500
    assert len(compared) < 500
