"""Weights of uneven classes in a plan: where they are set, by which rule, and who may fix them."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.record import LabelCount
from sweeper.planning.planner import make_plan

CHOICES = ("none", "balanced-sqrt", "balanced")


def _plan(scene: Any, counts: tuple[int, ...], model: str = "minilm", **changes: Any) -> Any:
    labels = tuple(LabelCount(label=f"c{i}", rows=n) for i, n in enumerate(counts))
    rows = round(0.7 * sum(counts))
    data = {"labels": labels}
    return make_plan(*scene("classification", model, rows, gpu_gib=None, data=data, **changes))


@pytest.mark.parametrize(
    ("counts", "default", "searched"),
    [((1800, 200), "balanced-sqrt", True), ((1700, 300), "none", False)],
)
def test_uneven_classes_are_weighed_by_rule_and_the_search_may_differ(
    scene: Any, counts: tuple[int, ...], default: str, searched: bool
) -> None:
    plan = _plan(scene, counts)
    assert {c.strategy for c in plan.candidates} >= {"head", "lora", "full"}
    for candidate in plan.candidates:
        weight = candidate.parameters["class_weight"]
        assert (weight.default, weight.choices) == (default, CHOICES)
        # The frozen head is one trial: its whole path is fitted at one weighting.
        assert weight.searched == (searched and candidate.strategy != "head")
        fired = {reason.rule for reason in candidate.reasons}
        assert ("weigh-rare-classes" in fired) == searched


def test_what_the_user_asks_for_holds_for_every_strategy(scene: Any) -> None:
    plan = _plan(scene, (1800, 200), training={"class_weight": "balanced"})
    for candidate in plan.candidates:
        weight = candidate.parameters["class_weight"]
        assert (weight.default, weight.searched) == ("balanced", False)


def test_without_a_head_the_plan_says_that_nothing_is_weighed(scene: Any) -> None:
    training = {"class_weight": "balanced", "classes_by": "generate"}
    plan = _plan(scene, (1800, 200), "smollm2", training=training)
    assert all("class_weight" not in candidate.parameters for candidate in plan.candidates)
    assert "only-heads-weigh-classes" in {warning.rule for warning in plan.warnings}
