"""What guards against forgetting are in a plan: where they exist, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeper.hyperparameters import KL, PATIENCE, REPLAY
from sweeper.memory.estimate import estimate, phases
from sweeper.memory.setup import OTHER, Setup
from sweeper.planning.budget.trial_budget import general_tokens
from sweeper.planning.costs.step_work import evaluation, training_step
from sweeper.planning.planner import make_plan

GUARDS = {REPLAY, KL, "general_loss_limit", PATIENCE}
LIMIT = {"aim": {"max_forgetting_points": 3.0}}
GENERAL = {"spec": {"general": "general.txt"}}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, set()),
        (GENERAL, {REPLAY}),
        (LIMIT, {REPLAY, KL, "general_loss_limit"}),
        ({"training": {"replay_share": 0.1}}, {REPLAY}),
        ({"training": {"kl_weight": 0.3}}, {KL}),
        ({"training": {"early_stopping_patience": 2}}, {PATIENCE}),
        ({"training": {"replay_share": 0.0}}, set()),
    ],
)
def test_a_guard_exists_only_where_the_plan_asks_for_it(
    scene: Any, asked: dict[str, Any], found: set[str]
) -> None:
    for candidate in make_plan(*scene("instruction", "smollm2", **asked)).candidates:
        assert GUARDS & set(candidate.parameters) == found


def test_a_classification_head_has_patience_alone_and_is_told_why(scene: Any) -> None:
    plan = make_plan(
        *scene(
            "classification",
            "minilm",
            labels=3,
            aim={"max_forgetting_points": 3.0},
            training={"early_stopping_patience": 2},
        )
    )
    found = {name for candidate in plan.candidates for name in candidate.parameters}
    assert GUARDS & found == {PATIENCE}
    assert any(warning.rule == "a-head-cannot-stay-near" for warning in plan.warnings)


def test_what_the_user_chose_is_taken_and_not_searched(scene: Any) -> None:
    training = {"replay_share": 0.07, "kl_weight": 0.4, "early_stopping_patience": 5}
    plan = make_plan(*scene("instruction", "smollm2", training=training, **LIMIT))
    for candidate in plan.candidates:
        for name, value in training.items():
            parameter = candidate.parameters[name]
            assert (parameter.default, parameter.searched) == (value, False)
            assert parameter.source == "the request"


def test_the_limit_in_nats_is_a_hundredth_of_the_points(scene: Any) -> None:
    plan = make_plan(*scene("instruction", "smollm2", **LIMIT))
    assert {c.defaults()["general_loss_limit"] for c in plan.candidates} == {0.03}


def test_replay_and_a_second_forward_pass_take_their_time(scene: Any) -> None:
    _, facts = scene("instruction", "smollm2")
    model = facts.models[0]
    setup = Setup(strategy=OTHER.name, trainable=0, micro_batch=4, sequence_length=64)
    plain = training_step(model, setup)
    again = training_step(model, replace(setup, replay_share=0.2))
    near = training_step(model, replace(setup, near_base=True))
    assert again.flops == pytest.approx(1.25 * plain.flops)
    assert near.flops - plain.flops == pytest.approx(evaluation(model, setup, 4, 64).flops)


@pytest.mark.parametrize(("strategy", "copied"), [("full", True), ("lora", False)])
def test_full_fine_tuning_alone_pays_for_a_frozen_copy(
    scene: Any, strategy: str, copied: bool
) -> None:
    _, facts = scene("instruction", "smollm2")
    model = facts.models[0]
    setup = Setup(strategy=strategy, precision="bf16-mixed", near_base=True)
    for phase in phases(model, setup):
        copy = phase.parts.get("frozen copy", 0.0)
        assert copy == (2.0 * model.parameters if copied else 0.0)
    plain = estimate(model, replace(setup, near_base=False), 80.0)
    assert estimate(model, setup, 80.0).peak_gib > plain.peak_gib


def test_scoring_general_text_is_counted_where_it_is_watched(scene: Any) -> None:
    plain, _ = scene("instruction", "smollm2")
    given, _ = scene("instruction", "smollm2", **GENERAL)
    limited, _ = scene("instruction", "smollm2", **LIMIT)
    counted = [general_tokens(spec, 64, 8) for spec in (plain, given, limited)]
    assert counted == [0, 32 * 64, (32 + 8 * 8) * 64]
