from __future__ import annotations

from pathlib import Path

import pytest
from curve_backend import make_plan
from sweeper.execution.claims import Queue
from sweeper.execution.slots import SLOT, top_up, useful_total
from sweeper.search.storage import open_storage

from sweeper.plan import Parameter
from sweeper.search.study import OVERRIDES, create_study
from sweeper.spec import OwnTrial


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    storage = open_storage(f"journal:{tmp_path}/study.log")
    return Queue(storage, create_study(storage, "s"))


def names(queue: Queue) -> list[str]:
    return [trial.user_attrs[SLOT] for trial in queue.trials()]


def test_the_head_comes_first_then_defaults_in_plan_order_then_own_trials_then_search(
    queue: Queue,
) -> None:
    own = OwnTrial(strategy="lora", parameters={"learning_rate": 0.5, "lora_dropout": 0.2})
    plan = make_plan().model_copy(update={"own_trials": (own,)})
    top_up(queue, plan, 10)
    assert (
        names(queue) == ["default head", "default lora", "default full", "user 0"] + ["search"] * 6
    )
    fixed = queue.trial(3).system_attrs["fixed_params"]
    assert fixed["lora.learning_rate"] == 0.5
    assert "lora.lora_dropout" not in fixed
    assert queue.trial(3).user_attrs[OVERRIDES] == {"lora_dropout": 0.2}


def test_defaults_use_at_most_a_third_of_the_trials_and_catch_up_with_a_larger_total(
    queue: Queue,
) -> None:
    top_up(queue, make_plan(), 4)
    assert names(queue) == ["default head", "default lora", "search", "search"]
    top_up(queue, make_plan(), 9)
    assert names(queue)[4:] == ["default full", *["search"] * 4]


@pytest.mark.parametrize("total", [1, 3, 20])
def test_topping_up_again_adds_nothing(queue: Queue, total: int) -> None:
    for _ in range(3):
        top_up(queue, make_plan(), total)
        assert len(queue.trials()) == total
    top_up(queue, make_plan(), total - 1)
    assert len(queue.trials()) == total


def test_a_plan_with_nothing_to_search_gets_no_trials_that_would_repeat_themselves() -> None:
    assert useful_total(make_plan(strategies="head"), 20) == 1
    assert useful_total(make_plan(), 20) == 20


def test_a_default_that_is_nearly_free_does_not_use_up_the_share_of_the_others(
    queue: Queue,
) -> None:
    plan = make_plan()
    dearest = max(candidate.seconds_per_trial for candidate in plan.candidates)
    assert dearest > 0
    candidates = tuple(
        candidate.model_copy(update={"seconds_per_trial": dearest * 0.1})
        if candidate.strategy == "head"
        else candidate
        for candidate in plan.candidates
    )
    plan = plan.model_copy(update={"candidates": candidates})
    top_up(queue, plan, 6)
    assert names(queue) == ["default head", "default lora", "default full", *["search"] * 3]


def test_the_first_default_runs_again_without_its_first_stage(queue: Queue) -> None:
    stage = Parameter(
        kind="categorical",
        choices=("none", "full"),
        allowed_choices=("none", "full"),
        default="full",
        source="a test",
    )
    plan = make_plan()
    first, *rest = plan.candidates
    first = first.model_copy(update={"parameters": {**first.parameters, "first_stage": stage}})
    top_up(queue, plan.model_copy(update={"candidates": (first, *rest)}), 3)

    assert names(queue) == ["default lora", "default lora without first stage", "search"]
    fixed = [queue.trial(number).system_attrs["fixed_params"] for number in (0, 1)]
    assert [values["lora.first_stage"] for values in fixed] == ["full", "none"]
    assert {k: v for k, v in fixed[0].items() if k != "lora.first_stage"} == {
        k: v for k, v in fixed[1].items() if k != "lora.first_stage"
    }
