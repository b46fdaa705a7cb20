"""What guards against forgetting are in a plan: where they exist, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.record import StepExtra
from sweeper.features.forgetting.cost import scored_tokens
from sweeper.features.forgetting.facts import ForgettingFacts
from sweeper.hyperparameters import PATIENCE
from sweeper.memory.estimate import estimate, phases
from sweeper.memory.setup import OTHER, Setup
from sweeper.planning.costs.step_time import evaluation, training_step
from sweeper.planning.planner import make_plan

REPLAY, KL = "replay_share", "kl_weight"
GUARDS = {REPLAY, KL, PATIENCE}


def asking(**options: Any) -> dict[str, Any]:
    return {"request": {"features": {"forgetting": options}}}


LIMIT, GENERAL = asking(max_points=3.0), asking(general="general.txt")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, set()),
        (GENERAL, {REPLAY}),
        (LIMIT, {REPLAY, KL}),
        (asking(replay_share=0.1), {REPLAY}),
        (asking(kl_weight=0.3), {KL}),
        ({"training": {"early_stopping_patience": 2}}, {PATIENCE}),
        (asking(replay_share=0.0), set()),
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
            **LIMIT,
            training={"early_stopping_patience": 2},
        )
    )
    found = {name for candidate in plan.candidates for name in candidate.parameters}
    assert GUARDS & found == {PATIENCE}
    assert any(warning.rule == "a-head-cannot-stay-near" for warning in plan.warnings)


def test_what_the_user_chose_is_taken_and_not_searched(scene: Any) -> None:
    own, training = {"replay_share": 0.07, "kl_weight": 0.4}, {"early_stopping_patience": 5}
    asked = asking(max_points=3.0, **own)
    plan = make_plan(*scene("instruction", "smollm2", training=training, **asked))
    for candidate in plan.candidates:
        for name, value in (own | training).items():
            parameter = candidate.parameters[name]
            assert (parameter.default, parameter.searched) == (value, False)
            assert parameter.source == "the request"


def test_replay_and_a_second_forward_pass_take_their_time(scene: Any) -> None:
    _, facts = scene("instruction", "smollm2")
    model = facts.models[0]
    setup = Setup(strategy=OTHER.name, trainable=0, micro_batch=4, sequence_length=64)
    plain = training_step(model, setup)
    again = training_step(model, setup.replace(extra=StepExtra(further_share=0.2)))
    near = training_step(model, setup.replace(extra=StepExtra(reference=True)))
    assert again.flops == pytest.approx(1.25 * plain.flops)
    assert near.flops - plain.flops == pytest.approx(evaluation(model, setup, 4, 64).flops)


@pytest.mark.parametrize(("strategy", "copied"), [("full", True), ("lora", False)])
def test_full_fine_tuning_alone_pays_for_a_frozen_copy(
    scene: Any, strategy: str, copied: bool
) -> None:
    _, facts = scene("instruction", "smollm2")
    model = facts.models[0]
    setup = Setup(strategy=strategy, precision="bf16-mixed", extra=StepExtra(reference=True))
    for phase in phases(model, setup):
        copy = phase.parts.get("frozen copy", 0.0)
        assert copy == (2.0 * model.parameters if copied else 0.0)
    plain = estimate(model, setup.replace(extra=StepExtra()), 80.0)
    assert estimate(model, setup, 80.0).peak_gib > plain.peak_gib


def test_scoring_general_text_is_counted_where_it_is_watched(scene: Any) -> None:
    plain, _ = scene("instruction", "smollm2")
    given, _ = scene("instruction", "smollm2", **GENERAL)
    limited, _ = scene("instruction", "smollm2", **LIMIT)
    counted = [scored_tokens(spec, 64) for spec in (plain, given, limited)]
    assert counted == [(0, 0), (0, 32 * 64), (8 * 64, 32 * 64)]


@pytest.mark.parametrize(
    ("asked", "more", "writes"),
    [
        (LIMIT, {}, True),
        (asking(replay_share=0.2), {}, True),
        ({}, {}, False),
        (asking(max_points=3.0, general="general.jsonl"), {}, False),
        (LIMIT, {"task": "classification", "model": "minilm", "labels": 3}, False),
    ],
)
def test_text_that_the_base_writes_itself_is_a_part_of_the_search(
    scene: Any, asked: dict[str, Any], more: dict[str, Any], writes: bool
) -> None:
    spec, facts = scene(gpu_gib=80.0, **asked, **more)
    budget = make_plan(spec, facts).budget
    assert ("forgetting" in budget.phases) == writes
    if not writes:
        return
    phase = budget.features["forgetting"]
    assert (phase.in_search, phase.optional) == (True, False)
    assert next(iter(budget.phases)) == "forgetting"
    # Without a chat template it writes texts alone, and no answers.
    plain = scene(gpu_gib=80.0, **asked, model_changes={"chat_template": False})
    half = make_plan(*plain).budget.features["forgetting"].seconds
    assert phase.seconds == pytest.approx(2 * half, rel=0.01)
    written = ForgettingFacts(written=(facts.models[0].id,)).model_dump(mode="json")
    known = facts.model_copy(update={"features": {"forgetting": written}})
    assert "forgetting" not in make_plan(spec, known).budget.phases
