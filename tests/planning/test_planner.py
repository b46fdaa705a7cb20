from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest

from sweeper.errors import NothingFits
from sweeper.facts.models.model import catalogue_facts
from sweeper.planning.planner import make_plan
from sweeper.planning.ranking import worth
from sweeper.plans import NoPlan, Plan
from sweeper.spec import Spec, TrialRequest
from sweeper.traits.traits import known_strategies

MINI: dict[str, Any] = {"task": "classification", "model": "minilm", "labels": 6, "gpu_gib": None}
SCENES: list[dict[str, Any]] = [
    {},
    MINI,
    {"task": "code", "model": "smollm2", "gpu_gib": None},
    {"task": "domain", "domain": "far"},
    {"model": "70B", "gpus": 8},
    {"task": "classification", "labels": 3, "gpu_gib": 24.0},
]


@pytest.mark.parametrize("facts", SCENES)
def test_plans_are_deterministic_to_the_byte(scene: Any, facts: dict[str, Any]) -> None:
    first, second = make_plan(*scene(**facts)), make_plan(*scene(**facts))
    assert first.to_json() == second.to_json()


@pytest.mark.parametrize("facts", SCENES)
def test_a_plan_survives_its_json(scene: Any, facts: dict[str, Any]) -> None:
    plan = make_plan(*scene(**facts))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("facts", SCENES)
def test_every_strategy_competes_or_is_left_out_with_a_reason(scene: Any, facts: Any) -> None:
    plan = make_plan(*scene(**facts))
    names = [c.strategy for c in plan.candidates] + [r.strategy for r in plan.rejected]
    assert sorted(names) == sorted(known_strategies())
    assert all(item.reason and item.source for item in plan.rejected)
    assert not [item for item in plan.rejected if "{" in item.reason]
    assert plan.recommended == plan.candidates[0].strategy
    worths = [worth(c, plan.facts.aim.points_per_doubling) for c in plan.candidates]
    assert worths == sorted(worths, reverse=True)


@pytest.mark.parametrize("facts", SCENES)
def test_all_four_questions_are_answered_with_numbers(scene: Any, facts: Any) -> None:
    answers = {a.question: a.answer for a in make_plan(*scene(**facts)).answers}
    assert len(answers) == 4
    assert "GiB" in answers["Full fine-tuning or LoRA?"]
    assert "begin at" in answers["Which learning rate?"]
    assert "rows" in answers["How much data?"]
    assert "first scores" in answers["Is fine-tuning needed at all?"]
    assert not [text for text in answers.values() if "{" in text]


def test_lora_comes_first_unless_quality_says_otherwise(scene: Any) -> None:
    assert make_plan(*scene()).recommended == "lora"
    rich = {"rows": 12_000, "gpu_gib": 180.0, "domain": "far"}
    assert make_plan(*scene(**rich)).recommended == "full"


def test_full_fine_tuning_of_an_encoder_comes_first_and_is_a_toss_up(scene: Any) -> None:
    plan = make_plan(*scene(rows=4_000, **MINI))
    assert plan.recommended == "full"
    assert plan.runner_up is not None
    assert (plan.runner_up.strategy, plan.runner_up.probability) == ("lora", 0.72)
    assert not plan.runner_up.toss_up


@pytest.mark.parametrize("model", ["FacebookAI/roberta-base", "FacebookAI/roberta-large"])
def test_full_fine_tuning_of_an_encoder_comes_first_for_any_number_of_rows(
    scene: Any, model: str
) -> None:
    encoder = [catalogue_facts(model)]
    lengths = {"mean": 64.0, "p50": 55, "p90": 100, "p99": 128, "longest": 128}
    gaps = []
    for rows in (2_000, 50_000, 200_000, 400_000, 1_000_000):
        facts: dict[str, Any] = {"gpu_gib": 24.0, "labels": 2, "lengths": lengths}
        facts["hardware"] = {"bf16_tflops": 121.0, "bandwidth_gb_per_second": 300.0}
        plan = make_plan(*scene("classification", encoder, rows, **facts))
        assert plan.recommended == "full"
        gaps.append(plan.candidates[0].quality.mean)
    assert gaps == sorted(gaps)


def test_a_set_up_that_just_fits_does_not_come_first(scene: Any) -> None:
    barely = make_plan(*scene(model="7B", gpu_gib=15.9))
    assert barely.candidate("lora").setup.micro_batch == 1
    assert barely.recommended == "qlora"
    assert make_plan(*scene(model="7B", gpu_gib=24.0)).recommended == "lora"


def test_the_price_of_time_at_which_the_order_turns_is_right(scene: Any) -> None:
    facts: dict[str, Any] = {"model": "7B", "gpu_gib": 16.0}
    other = make_plan(*scene(**facts)).runner_up
    assert other is not None
    assert other.break_even_points is not None
    below, above = (
        make_plan(*scene(**facts, aim={"points_per_doubling": other.break_even_points * factor}))
        for factor in (0.9, 1.1)
    )
    assert (below.recommended, above.recommended) == ("lora", "qlora")


def test_the_user_says_what_time_is_worth(scene: Any) -> None:
    few = {"task": "classification", "labels": 2, "gpu_gib": 24.0, "rows": 50_000}
    assert make_plan(*scene(**few)).recommended != "head"
    assert make_plan(*scene(**few, aim={"points_per_doubling": 5.0})).recommended == "head"


def test_the_demo_is_lora_head_and_full_on_a_cpu(scene: Any) -> None:
    plan = make_plan(*scene(rows=560, **MINI))
    assert {c.strategy for c in plan.candidates} == {"lora", "head", "full"}
    head = plan.candidate("head")
    assert head.duration.seconds < plan.candidate("full").duration.seconds
    assert head.parameters["C"].searched is False


def test_only_the_strategies_asked_for_compete(scene: Any) -> None:
    plan = make_plan(*scene(aim={"strategies": ("prefix", "adapter")}))
    assert {c.strategy for c in plan.candidates} == {"prefix", "adapter"}
    out = next(item for item in plan.rejected if item.strategy == "lora")
    assert out.reason == "not among the requested strategies"


def test_prompt_methods_never_rank_above_lora(scene: Any) -> None:
    every = {"aim": {"strategies": ("lora", "prefix", "ptuning")}}
    for facts in ({}, {"rows": 100}, {"model": "13B"}, {"model": "smollm2"}, {"rows": 90_000}):
        order = [c.strategy for c in make_plan(*scene(**facts, **every)).candidates]
        assert order[0] == "lora"


def test_several_models_compete_in_one_plan(scene: Any) -> None:
    _, facts = scene()
    small = facts.models[0].model_copy(update={"id": "small", "parameters": 3_000_000_000})
    plan = make_plan(*scene(model=[facts.models[0], small]))
    pairs = {(c.model, c.strategy) for c in plan.candidates}
    assert {("7B", "lora"), ("small", "lora")} <= pairs
    assert plan.candidate("lora", "small").model == "small"


def test_own_trials_are_handed_on(scene: Any) -> None:
    spec, facts = scene()
    own = [{"strategy": "lora", "parameters": {"r": 4}}]
    spec = Spec.model_validate(spec.model_dump() | {"trials": own})
    (made,) = make_plan(spec, facts).own_trials
    assert (made.strategy, made.parameters, made.origin) == ("lora", {"r": 4}, "user")
    assert TrialRequest.taken_from(made, model=None) == spec.trials[0]


def test_expected_quality_names_its_source(scene: Any) -> None:
    for candidate in make_plan(*scene()).candidates:
        assert candidate.quality_source
        assert candidate.trainable_parameters > 0


def test_no_text_of_a_plan_has_an_unfilled_slot(scene: Any) -> None:
    for facts in SCENES:
        plan = make_plan(*scene(**facts))
        for candidate in plan.candidates:
            texts = [r.why for r in (*candidate.reasons, *candidate.cautions)]
            texts += [p.why for p in candidate.parameters.values()]
            assert not [text for text in texts if "{" in text and "|" not in text]


@pytest.mark.parametrize("model", ["smollm2", "7B"])
def test_a_candidate_still_fits_on_the_least_memory_and_on_no_less(scene: Any, model: str) -> None:
    for candidate in make_plan(*scene(model=model)).candidates:
        least = candidate.least_gib
        assert least is not None
        aim = {"strategies": (candidate.strategy,)}
        assert make_plan(*scene(model=model, gpu_gib=least, aim=aim)).recommended
        less = {"model": model, "gpu_gib": round(least - 0.1, 1), "aim": aim}
        if "r" not in candidate.parameters:
            with pytest.raises(NothingFits):
                make_plan(*scene(**less))
            continue
        with contextlib.suppress(NothingFits):
            lower = make_plan(*scene(**less)).candidates[0].parameters["r"].default
            assert int(lower) < int(candidate.parameters["r"].default)


def _warned(plan: Plan | NoPlan) -> int:
    return [reason.rule for reason in plan.warnings].count("one-gpu")


def test_several_gpus_hold_no_more_than_one_and_the_plan_says_so_once(scene: Any) -> None:
    one, eight = (make_plan(*scene(model="70B", gpus=gpus)) for gpus in (1, 8))
    assert [c.strategy for c in eight.candidates] == [c.strategy for c in one.candidates]
    assert {item.strategy for item in eight.rejected} >= {"lora", "full"}
    assert (_warned(one), _warned(eight)) == (0, 1)
    assert _warned(make_plan(*scene(model="smollm2", gpus=8))) == 0
    with pytest.raises(NothingFits) as caught:
        make_plan(*scene(model="70B", gpu_gib=24.0, gpus=8))
    assert _warned(NoPlan.from_json(caught.value.plan)) == 1
    assert caught.value.problems[-1].what == eight.warnings[-1].why


def test_where_nothing_fits_the_nearest_comes_first_and_everything_is_told(scene: Any) -> None:
    with pytest.raises(NothingFits) as caught:
        make_plan(*scene(model="70B", gpu_gib=24.0))
    first, *others = caught.value.problems
    assert first.what.startswith("Nothing fits 70B on one 24 GiB GPU; qlora needs least, ")
    assert re.search(r"needs least, [\d.]+ GiB to [\d.]+ GiB: ", first.what)
    assert ": a GPU with 45 GiB (A40, L40, L40S)" in first.what
    assert len(others) >= 3
    told = NoPlan.from_json(caught.value.plan)
    assert told.nearest == first.what
    assert {one.strategy for one in told.rejected} >= {"lora", "qlora", "full"}
