from __future__ import annotations


import pytest
from curve_backend import ITEMS, make_plan
from hypothesis import given
from hypothesis import strategies as st

from sweeper.plans import Duration
from sweeper.search.configure import configure, rung_items, split_batch


@given(st.integers(1, 512), st.integers(1, 64))
def test_micro_batch_times_accumulation_is_the_effective_batch(batch: int, largest: int) -> None:
    micro, accumulation = split_batch(batch, largest)
    assert micro * accumulation == batch
    assert 1 <= micro <= largest


@pytest.mark.parametrize(
    ("batch", "gpus", "expected"),
    [(16, 1, (8, 2)), (4, 1, (4, 1)), (32, 4, (8, 1)), (2, 4, (1, 1))],
)
def test_the_batch_is_divided_among_gpus_first(
    batch: int, gpus: int, expected: tuple[int, int]
) -> None:
    assert split_batch(batch, 8, gpus) == expected


def test_a_configuration_holds_the_candidates_set_up_and_the_plans_budget() -> None:
    plan = make_plan(seed=7)
    parameters = {"learning_rate": 1e-5, "per_device_train_batch_size": 32, "head_init": "probe"}
    config = configure(
        plan, plan.candidate("full"), parameters, number=4, attempt=2, origin="search"
    )
    assert (config.number, config.attempt, config.seed, config.origin) == (4, 2, 7, "search")
    assert (config.micro_batch, config.gradient_accumulation_steps) == (8, 4)
    assert config.parameters == parameters
    assert (config.budget.rungs, config.budget.epochs) == (8, 2.0)
    assert config.keep_weights


def test_a_trial_of_fewer_epochs_has_that_part_of_the_budget() -> None:
    plan = make_plan()
    config = configure(
        plan,
        plan.candidate("lora"),
        {"num_train_epochs": 0.5},
        number=0,
        attempt=1,
        origin="search",
    )
    budget = config.budget
    assert (budget.epochs, budget.rungs, budget.full_tokens) == (0.5, 2, 2500)
    assert budget.rung_items == rung_items(plan)


def test_without_a_batch_parameter_the_candidates_own_batch_is_kept() -> None:
    plan = make_plan()
    config = configure(plan, plan.candidate("lora"), {}, number=0, attempt=1, origin="search")
    assert (config.micro_batch, config.gradient_accumulation_steps) == (8, 2)


def test_a_rung_scores_what_the_plan_says_or_the_whole_split() -> None:
    plan = make_plan()
    assert rung_items(plan) == ITEMS
    budget = plan.budget.model_copy(update={"rung_items": 12})
    assert rung_items(plan.model_copy(update={"budget": budget})) == 12


@pytest.mark.parametrize(
    ("hours", "epochs", "saves"),
    [(0.4, 2.0, False), (1.0, 2.0, True), (1.0, 0.5, False), (3.0, 0.5, True)],
)
def test_a_trial_of_more_than_half_an_hour_saves_checkpoints(
    hours: float, epochs: float, saves: bool
) -> None:
    plan = make_plan()
    assert plan.budget.epochs == 2.0
    seconds = 3600 * hours
    long = Duration(seconds=seconds, low=seconds / 2, high=2 * seconds)
    candidate = plan.candidate("lora").model_copy(update={"duration": long})
    parameters = {"num_train_epochs": epochs}
    config = configure(plan, candidate, parameters, number=0, attempt=1, origin="search")
    assert config.checkpoints is saves
