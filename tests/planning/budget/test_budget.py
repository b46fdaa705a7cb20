from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from sweeper import units
from sweeper.errors import NothingFits, SpecError
from sweeper.facts.machine.gpus import list_prices
from sweeper.facts.models.model import model_facts
from sweeper.planning.budget.budget import (
    MIN_PART_ROWS,
    first_rung,
    parse_budget,
    searched_share,
)
from sweeper.planning.budget.trial_budget import RUNGS
from sweeper.planning.planner import make_plan
from sweeper.spec import ModelSpec
from sweeper.views.plan_view import start


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("8gpuh", 8.0, "gpuh"), ("30 usd", 30.0, "usd"), ("2h", 2.0, "h"), ("0.5h", 0.5, "h")],
)
def test_a_budget_is_an_amount_with_a_unit(text: str, amount: float, unit: str) -> None:
    limit = parse_budget(text)
    assert limit is not None
    assert (limit.amount, limit.unit) == (amount, unit)


@pytest.mark.parametrize("text", ["8", "gpuh", "8 hours", "-1h", "0h", "1e3h", ""])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SpecError, match="8gpuh"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("warmup", "expected"), [(0.0, 2), (0.05, 2), (0.25, 2), (0.26, 3), (0.4, 4), (0.9, 8)]
)
def test_no_rung_before_a_quarter_or_the_end_of_warmup(warmup: float, expected: int) -> None:
    rung = first_rung(warmup)
    assert rung == expected
    assert rung == RUNGS or rung >= warmup * RUNGS


@pytest.mark.parametrize("first", range(2, RUNGS + 1))
def test_a_searched_trial_costs_between_its_first_rung_and_a_full_budget(first: int) -> None:
    share = searched_share(first)
    assert 0.5 < searched_share(max(2, first - 1)) <= share <= 1.0
    assert (share == 1.0) == (first == RUNGS)


@pytest.mark.parametrize(("every", "expected"), [(1, 3), (2, 4), (4, 4)])
def test_a_trial_is_pruned_only_where_it_is_looked_at(every: int, expected: int) -> None:
    assert first_rung(0.3, every) == expected


def test_all_phases_have_the_interval_of_a_trial_and_of_counts(scene: Any) -> None:
    plan = make_plan(*scene(price=2.0, search={"confirmation_seeds": 3}))
    budget = plan.budget
    trials = [candidate.duration for candidate in plan.candidates]
    low = 0.85 * min(trial.low / trial.seconds for trial in trials)
    high = 1.15 * max(trial.high / trial.seconds for trial in trials)
    for part in (*budget.phases.values(), budget.sweep):
        assert part.seconds > 0
        assert part.low / part.seconds == pytest.approx(low, rel=0.001)
        assert part.high / part.seconds == pytest.approx(high, rel=0.001)
    assert budget.finalists == 3
    assert budget.gpu_hours is not None
    assert budget.cost_usd == pytest.approx(budget.gpu_hours * 2.0, rel=0.01)


def test_a_budget_limits_the_trials_and_says_so(scene: Any) -> None:
    rich = make_plan(*scene(aim={"budget": "1000gpuh"})).budget
    assert (rich.trials, rich.limit_notes) == (20, ())
    hours = rich.gpu_hours or 0.0
    poor = make_plan(*scene(aim={"budget": f"{hours * 0.9:.3f}gpuh"})).budget
    assert 8 <= poor.trials < 20
    assert poor.limit_notes
    with pytest.raises(NothingFits):
        make_plan(*scene(aim={"budget": "0.001gpuh"}))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
@pytest.mark.parametrize("unit", ["h", "gpuh", "usd"])
def test_the_upper_end_of_a_plan_lies_within_its_budget(
    scene: Any, share: float, unit: str
) -> None:
    facts: dict[str, Any] = {"price": 2.0, "rows": 2_000}
    whole = make_plan(*scene(**facts)).budget.sweep.seconds / 3600
    amount = share * whole * (2.0 if unit == "usd" else 1.0)
    try:
        plan = make_plan(*scene(aim={"budget": f"{amount:.4f}{unit}"}, **facts))
    except NothingFits:
        assert share <= 0.2
        return
    budget = plan.budget
    assert budget.sweep.high <= share * whole * 3600 * 1.001
    if unit == "usd":
        assert budget.cost_high_usd is not None
        assert budget.cost_high_usd <= amount * 1.01
    shorter = "budget" in {reason.rule for reason in plan.warnings}
    assert shorter is (budget.epochs < make_plan(*scene(**facts)).budget.epochs)
    # Confirmation is given up before a search of eight trials is.
    assert budget.trials >= 8 or budget.confirmation_seeds == 1 or budget.finalists == 1


def test_a_budget_that_pays_for_the_whole_plan_changes_nothing_of_its_search(scene: Any) -> None:
    search = {"confirmation_seeds": 3}
    facts: dict[str, Any] = {"rows": 20_000, "model": "smollm2", "gpu_gib": 24.0, "search": search}
    plain = make_plan(*scene(**facts)).budget
    hours = plain.sweep.high / 3600
    assert hours < 24
    fields = ("trials", "finalists", "confirmation_seeds", "train_rows", "epochs")
    search_of = [
        [getattr(budget, name) for name in fields] + [budget.phases["search"]]
        for budget in (
            plain,
            *(
                make_plan(*scene(**facts, aim={"budget": f"{amount:.3f}h"})).budget
                for amount in (hours * 1.01, 24, hours * 0.8)
            ),
        )
    ]
    assert search_of[0] == search_of[1] == search_of[2]
    assert search_of[3] != search_of[0]


def test_one_trial_is_one_good_run(scene: Any) -> None:
    plan = make_plan(*scene(rows=200_000, gpu_gib=24.0, search={"trials": 1}))
    budget, lead = plan.budget, plan.candidates[0]
    assert (budget.trials, budget.finalists, budget.confirmation_seeds) == (1, 1, 1)
    assert (budget.train_rows, budget.extra_seeds) == (None, 0)
    assert budget.phases["confirmation"].seconds == 0
    assert budget.phases["search"].seconds == pytest.approx(lead.duration.seconds, rel=0.01)
    assert "refit" not in budget.phases
    assert plan.search_gain.mean == 0
    assert "One trial, nothing is searched" in start(plan)


def test_no_more_trials_are_confirmed_than_are_trained(scene: Any) -> None:
    search = {"trials": 1, "confirmation_seeds": 3}
    budget = make_plan(*scene(search=search)).budget
    most = max(cost.duration.seconds for cost in make_plan(*scene(search=search)).candidates)
    assert budget.phases["confirmation"].seconds < 1.2 * 2 * most, (
        "two further seeds of the only trial"
    )


def test_finalists_may_get_more_seeds_unless_time_or_seeds_were_asked_for(scene: Any) -> None:
    plain, asked = (
        make_plan(*scene(**fields)).budget for fields in ({}, {"search": {"confirmation_seeds": 3}})
    )
    assert (plain.extra_seeds, asked.extra_seeds) == (2, 0)
    times, fewer = plain.phases["confirmation"], asked.phases["confirmation"]
    assert (times.seconds, times.low) == (fewer.seconds, fewer.low)
    assert times.high == pytest.approx(2 * fewer.high, rel=0.01)  # four trainings, not two
    assert plain.sweep.high > asked.sweep.high
    assert make_plan(*scene(aim={"budget": "10h"})).budget.extra_seeds == 0
    assert make_plan(*scene(search={"finalists": 1})).budget.extra_seeds == 0


@pytest.mark.parametrize("rows", [200_000, 1_000_000])
def test_large_data_are_searched_on_a_part_and_the_winner_is_trained_on_all(
    scene: Any, rows: int
) -> None:
    plan = make_plan(*scene(rows=rows, gpu_gib=24.0))
    budget, whole = plan.budget, plan.facts.data.train_rows
    assert budget.train_rows is not None
    assert MIN_PART_ROWS <= budget.train_rows <= whole / 2
    assert plan.searched_rows == budget.train_rows
    assert budget.phases["search"].seconds < 2 * 24 * 3600
    share = whole / budget.train_rows
    assert budget.phases["refit"].seconds > 0.8 * share * plan.candidates[0].duration.seconds
    assert budget.full_tokens == pytest.approx(budget.epochs * budget.train_rows * 200, rel=0.01)
    assert (budget.trials, budget.finalists, budget.confirmation_seeds) == (20, 3, 3)
    assert any(f"{budget.train_rows:,}" in note for note in budget.limit_notes)


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"rows": 4_000}, False),
        ({"rows": 200_000, "search": {"trials": 1}}, False),
        ({"rows": 200_000, "aim": {"budget": "9000h"}}, False),
        ({"rows": 200_000, "aim": {"budget": "120h"}}, True),
    ],
)
def test_a_part_is_searched_only_where_all_rows_cannot_be_in_time(
    scene: Any, facts: dict[str, Any], part: bool
) -> None:
    budget = make_plan(*scene(gpu_gib=24.0, **facts)).budget
    assert (budget.train_rows is not None) is part
    assert ("refit" in budget.phases) is part
    if budget.limit_seconds:
        assert budget.sweep.high <= budget.limit_seconds


def test_dollars_without_a_price_are_refused(scene: Any) -> None:
    for facts in ({}, {"gpu_gib": None}):
        with pytest.raises(SpecError) as error:
            make_plan(*scene(aim={"budget": "30usd"}, **facts))
        assert error.value.problems[0].where == "--budget"


def test_dollars_are_counted_at_the_dated_price_of_a_card_unless_the_user_has_one(
    scene: Any,
) -> None:
    spec, facts = scene(aim={"budget": "3usd"})
    card = facts.hardware.model_copy(update={"name": "NVIDIA GeForce RTX 4090"})
    plan = make_plan(spec, facts.model_copy(update={"hardware": card}))
    hardware = plan.facts.hardware
    assert hardware.price_per_gpu_hour == list_prices()["RTX 4090"].usd
    assert hardware.price_source in plan.budget.limit_notes[0]
    assert plan.budget.limit_seconds == pytest.approx(3 / list_prices()["RTX 4090"].usd * 3600)
    mine = card.model_copy(update={"price_per_gpu_hour": 1.0})
    budget = make_plan(spec, facts.model_copy(update={"hardware": mine})).budget
    assert budget.limit_seconds == 3 * 3600


def test_a_budget_that_buys_no_recommendation_says_so(scene: Any) -> None:
    said = {}
    for share in (0.1, 0.2, 0.4, 0.8, 1.6):
        whole = make_plan(*scene(rows=2_000)).budget.sweep.seconds / 3600
        try:
            budget = make_plan(*scene(rows=2_000, aim={"budget": f"{share * whole}h"})).budget
        except NothingFits:
            continue
        bare = min(budget.finalists, budget.confirmation_seeds) == 1
        said[bare] = any("nothing is recommended" in note for note in budget.limit_notes)
    assert said == {True: True, False: False}


def test_more_gpus_run_more_trials_at_once(scene: Any) -> None:
    one = make_plan(*scene(gpu_gib=180.0)).budget
    eight = make_plan(*scene(gpu_gib=180.0, gpus=8)).budget
    assert (one.trials_at_once, eight.trials_at_once) == (1, 8)
    assert eight.phases["search"].seconds < one.phases["search"].seconds


@pytest.mark.parametrize(
    ("asked", "gpus", "gpus_per_trial", "workers", "at_once"),
    [(None, 8, 1, 8, 8), (None, 8, 2, 4, 4), (2, 8, 1, 2, 2), (1, 8, 1, 1, 1), (16, 8, 1, 16, 8),
     (None, 1, 1, 1, 1), (2, 1, 1, 2, 2)],
)  # fmt: skip
def test_a_run_has_a_worker_for_each_group_of_gpus_unless_it_is_told_how_many(
    scene: Any, asked: int | None, gpus: int, gpus_per_trial: int, workers: int, at_once: int
) -> None:
    training = {"gpus_per_trial": gpus_per_trial} if gpus_per_trial > 1 else {}
    spec, facts = scene(gpu_gib=180.0, gpus=gpus, search={"workers": asked}, training=training)
    plan = make_plan(spec, facts)
    assert (plan.workers(spec.search), plan.budget.trials_at_once) == (workers, at_once)


def test_workers_share_a_cpu(scene: Any) -> None:
    facts = {"model": "smollm2", "gpu_gib": None}
    budget = make_plan(*scene(search={"workers": 2}, **facts)).budget
    assert budget.trials_at_once == 2


def test_a_plan_warns_of_more_workers_than_cores(scene: Any) -> None:
    facts = {"model": "smollm2", "gpu_gib": None}
    found = {}
    for workers in (1, 64):
        plan = make_plan(*scene(search={"workers": workers}, **facts))
        found[workers] = [one.why for one in plan.warnings if one.rule == "workers-and-cores"]
    cores = plan.facts.hardware.cpu_cores
    assert found[1] == []
    assert found[64][0].startswith(f"64 workers would share {cores} cores")


def test_a_trial_of_few_steps_may_be_pruned_too(scene: Any) -> None:
    budget = make_plan(*scene(rows=60, training={"epochs": 1})).budget
    assert budget.first_rung == max(2, budget.rung_every) < RUNGS


def test_the_full_budget_is_epochs_times_tokens(scene: Any) -> None:
    budget = make_plan(*scene(rows=1000, training={"epochs": 2})).budget
    assert budget.full_tokens == 2 * 700 * 200


@pytest.mark.parametrize(
    ("training", "stops"),
    [
        ({"epochs": 2}, True),
        ({"epochs": 1}, False),  # no row is seen twice
        ({"epochs": 2, "stop_overfitting": False}, False),
        ({"epochs": 1, "stop_overfitting": True}, True),
    ],
)
def test_trials_that_overfit_end_early_where_rows_are_seen_again(
    scene: Any, training: dict[str, Any], stops: bool
) -> None:
    budget = make_plan(*scene(training=training)).budget
    assert budget.stop_overfitting is stops
    assert any("more than once" in note for note in budget.notes) is (
        training["epochs"] > 1 and stops
    )


@pytest.mark.parametrize(
    ("slow", "rows", "alone"),
    [
        ({"model": "7B", "hardware": {"memory_gib": 64.0}}, 100_000, True),
        ({"model": "7B", "hardware": {"memory_gib": 64.0}}, 1_000, False),
        ({"model": "smollm2"}, 400_000, True),
    ],
)
def test_a_study_of_weeks_is_refused_and_each_remedy_of_the_error_works(
    scene: Any, slow: dict[str, Any], rows: int, alone: bool
) -> None:
    slow = {"gpu_gib": None, **slow}
    with pytest.raises(NothingFits) as caught:
        make_plan(*scene(rows=rows, **slow))
    assert caught.value.exit_code == 3
    problem = caught.value.problems[0]
    assert ("--trials 1 with" in problem.what) is alone
    run_once: dict[str, Any] = {"search": {"trials": 1}}
    fewer = re.findall(r"([\d,]+) rows", problem.what)
    sizes = re.findall(r"about (\S+) parameters", problem.what)
    assert fewer or sizes
    typed: list[dict[str, Any]] = [{"rows": int(count.replace(",", ""))} for count in fewer]
    typed += [{"model": [model_facts(ModelSpec(id=size))]} for size in sizes]
    typed = [one | run_once for one in typed] if alone else [*typed, run_once]
    typed += [{"aim": {"budget": re.search(r"--budget (\S+)\.", problem.fix)[1]}}]  # type: ignore[index]
    for change in typed:
        plan = make_plan(*scene(**{"rows": rows, **slow, **change}))
        within = plan.budget.limit_seconds or 7 * 24 * 3600
        assert plan.budget.sweep.seconds <= within
        assert plan.budget.trials == (1 if "search" in change else 20)


@pytest.mark.parametrize("budget", ["0.01h", "0.01usd"])
def test_a_budget_below_one_trial_names_one_that_pays_for_it(scene: Any, budget: str) -> None:
    machine: dict[str, Any] = {"gpu_gib": 24.0, "price": 2.0}
    with pytest.raises(NothingFits) as caught:
        make_plan(*scene(rows=5000, aim={"budget": budget}, **machine))
    named = re.search(r"--budget (\S+h),", caught.value.problems[0].fix)
    assert named
    plan = make_plan(*scene(rows=5000, aim={"budget": named[1]}, **machine))
    assert plan.budget.trials >= 1


def test_two_percent_more_rows_move_the_time_of_the_sweep_by_less_than_four(scene: Any) -> None:
    budgets = [
        make_plan(*scene(rows=round(25_000 * 1.02**n), gpu_gib=24.0)).budget for n in range(36)
    ]
    assert [budget.train_rows is None for budget in (budgets[0], budgets[-1])] == [True, False]
    for before, after in pairwise(budgets):
        assert after.sweep.seconds == pytest.approx(before.sweep.seconds, rel=0.04)


def test_near_a_budget_only_the_optional_phases_come_and_go_whole(scene: Any) -> None:
    aim = {"budget": "48h"}
    budgets = [
        make_plan(*scene(rows=rows, gpu_gib=24.0, aim=aim)).budget
        for rows in range(26_000, 28_000, 250)
    ]
    planned = [budget.features["data_curve"].planned for budget in budgets]
    assert planned == sorted(planned, reverse=True)
    assert {*planned} == {True, False}
    for before, after in pairwise(budgets):
        assert after.phases["search"].seconds == pytest.approx(
            before.phases["search"].seconds, rel=0.02
        )


def test_a_run_on_all_rows_orders_the_strategies_of_a_search_on_a_part(scene: Any) -> None:
    aim = {"strategies": ("lora", "full")}
    plan = make_plan(*scene("code", "smollm2", 3_000_000, gpu_gib=8.0, aim=aim))
    whole = make_plan(
        *scene("code", "smollm2", 3_000_000, gpu_gib=8.0, aim=aim, search={"trials": 1})
    )
    assert plan.budget.train_rows is not None
    assert whole.budget.train_rows is None
    assert [c.strategy for c in plan.candidates] == [c.strategy for c in whole.candidates]
    assert plan.runner_up == whole.runner_up
    refit, run = plan.budget.phases["refit"], whole.candidates[0].duration
    assert refit.seconds == pytest.approx(run.seconds, rel=0.05)
    assert refit.high >= whole.candidates[1].duration.seconds


def test_a_part_takes_what_the_winners_training_on_all_rows_leaves_of_a_day(scene: Any) -> None:
    short, long = (make_plan(*scene(rows=n, gpu_gib=24.0)).budget for n in (200_000, 2_000_000))
    assert short.sweep.seconds < 24 * 3600 < long.sweep.seconds
    assert long.train_rows == MIN_PART_ROWS
    winner = units.duration(long.phases["refit"].seconds)
    assert [winner in " ".join(budget.limit_notes) for budget in (short, long)] == [False, True]


def test_trials_that_a_budget_shortens_are_searched_on_a_part_too(scene: Any) -> None:
    hours = 0.8 * make_plan(*scene(rows=200_000, gpu_gib=24.0)).budget.phases["refit"].high / 3600
    plan = make_plan(*scene(rows=200_000, gpu_gib=24.0, aim={"budget": f"{hours:.2f}h"}))
    assert "budget" in {reason.rule for reason in plan.warnings}
    assert plan.budget.trials > 1
    assert plan.budget.train_rows is not None
