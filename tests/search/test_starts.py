from __future__ import annotations

import pytest
from curve_backend import make_plan
from spaces import ended

from sweeper.plans import Configuration, Parameter, Plan
from sweeper.search.search import Search, first_trials, useful_total


def names(plan: Plan, total: int) -> list[str]:
    return [f"{one.origin} {one.strategy}" for one in first_trials(plan, total)]


def asked(plan: Plan, total: int) -> list[Configuration]:
    """All trials of a search, each told before the next is asked for."""
    search = Search(plan, tuple(first_trials(plan, total)))
    trials = []
    for _ in range(total):
        trials.append(search.ask())
        search.tell(trials[-1].number, ended("COMPLETE", 0.5))
    return trials


def test_the_head_comes_first_then_defaults_in_plan_order_then_own_trials_then_search() -> None:
    own = Configuration(
        origin="user", strategy="lora", parameters={"learning_rate": 0.5, "lora_dropout": 0.2}
    )
    plan = make_plan().model_copy(update={"own_trials": (own,)})
    assert names(plan, 10) == ["default head", "default lora", "default full", "user lora"]
    start = list(first_trials(plan, 10))[3]
    assert start.parameters == {"learning_rate": 0.5, "lora_dropout": 0.2}

    trials = asked(plan, 6)
    assert [one.strategy for one in trials[:4]] == ["head", "lora", "full", "lora"]
    assert [one.origin for one in trials] == ["default"] * 3 + ["user"] + ["search"] * 2
    assert trials[3].parameters["learning_rate"] == 0.5
    assert trials[3].parameters["lora_dropout"] == 0.2


def test_defaults_that_had_no_trial_catch_up_with_a_larger_total() -> None:
    plan = make_plan()
    assert names(plan, 2) == ["default lora", "default full"]
    few = Search(plan, tuple(first_trials(plan, 2)))
    tried = [few.ask() for _ in range(2)]
    more = Search(plan, tuple(first_trials(plan, 9)))
    for one in tried:
        more.restore(one, (), ended("COMPLETE", 0.5))
    third = more.ask()
    assert (third.strategy, third.origin) == ("head", "default")


@pytest.mark.parametrize("total", [3, 4, 5])
def test_all_defaults_are_asked_for_before_any_other_trial_by_many_workers(total: int) -> None:
    own = Configuration(origin="user", strategy="lora", parameters={"learning_rate": 0.5})
    for plan in (make_plan(), make_plan().model_copy(update={"own_trials": (own,)})):
        search = Search(plan, tuple(first_trials(plan, total)))
        tried = [search.ask().origin for _ in range(total)]
        assert tried[:3].count("default") == min(3, total - len(plan.own_trials))
        assert tried.count("user") == len(plan.own_trials)


def test_a_start_that_was_tried_is_not_tried_again() -> None:
    plan = make_plan()
    starts = tuple(first_trials(plan, 9))
    first = Search(plan, starts)
    tried = [first.ask() for _ in range(3)]
    again = Search(plan, starts)
    for one in tried:
        again.restore(one)
    assert again.ask().origin == "search"


def test_a_plan_with_nothing_to_search_gets_no_trials_that_would_repeat_themselves() -> None:
    assert useful_total(make_plan(strategies="head"), 20) == 1
    assert useful_total(make_plan(), 20) == 20


def test_the_first_default_runs_again_with_a_parameter_at_its_off_value() -> None:
    name, value = "extra", "all"
    choice = Parameter(
        kind="categorical",
        choices=("none", value),
        allowed_choices=("none", value),
        default=value,
        off_value="none",
        source="a test",
    )
    plan = make_plan()
    first, *rest = plan.candidates
    first = first.model_copy(update={"parameters": {**first.parameters, name: choice}})
    plan = plan.model_copy(update={"candidates": (first, *rest)})
    starts = list(first_trials(plan, 3))
    assert [one.strategy for one in starts] == ["lora", "full", "lora"]
    having, _, without = asked(plan, 3)
    assert [one.parameters[name] for one in (having, without)] == [value, "none"]
    assert {**having.parameters, name: "none"} == without.parameters
