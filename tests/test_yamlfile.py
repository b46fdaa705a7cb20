"""YAML with line numbers, plain data only."""

import pytest

from sweeper.errors import UsageError
from sweeper.yamlfile import parse


def test_every_value_knows_its_line():
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert document.data == {"a": 1, "b": ["x", {"c": 2}]}
    assert document.where(("b", 1, "c")) == "f.yaml:4 b.1.c"
    assert document.where(("b", 9)) == "f.yaml:2 b.9"


def test_the_place_of_an_item_in_a_file_that_is_a_list_is_its_line():
    document = parse("- a: 1\n- a: 2\n", "f.yaml")
    assert document.where((1,)) == "f.yaml:2"
    assert document.where((1, "a")) == "f.yaml:2 a"


def test_an_included_value_keeps_the_file_and_line_that_hold_it():
    shared = parse("decay:\n  default: 1\n  why: x\n", "shared.yaml")
    document = parse("parameters:\n  decay:\n    why: y\n", "mine.yaml")
    document.included[("parameters", "decay")] = (shared, ("decay",))
    assert document.where(("parameters", "decay", "why")) == "mine.yaml:3 parameters.decay.why"
    default = document.where(("parameters", "decay", "default"))
    assert default == "shared.yaml:2 parameters.decay.default"
    assert document.where(("parameters", "decay", "kind")) == "mine.yaml:2 parameters.decay.kind"


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-5", 2e-5), ("1.5E-3", 1.5e-3), ("-3e+2", -300.0), ("5", 5), ("'2e-5'", "2e-5")],
)
def test_learning_rates_are_numbers(text, value):
    result = parse(f"x: {text}", "f").data["x"]
    assert result == value
    assert type(result) is type(value)


def test_a_key_that_stands_twice_is_a_problem_with_both_lines():
    document = parse("a: 1\nb: 2\na: 3\n", "f.yaml")
    assert document.data["a"] == 1
    assert "first is on line 1" in document.problems[0].fix
    assert document.problems[0].where.startswith("f.yaml:3")


@pytest.mark.parametrize(
    "text", ["!!python/name:os.system x", "!local x", "a: !!python/object:x.Y {}"]
)
def test_tags_are_refused(text):
    assert parse(text, "f").problems


def test_what_is_not_yaml_says_so_with_the_line():
    with pytest.raises(UsageError, check=lambda error: error.code == "no-yaml"):
        parse("a: 1\nb: [\n", "f.yaml")
