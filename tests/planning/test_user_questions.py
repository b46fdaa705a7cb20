from __future__ import annotations

from typing import Any

from sweeper import units
from sweeper.planning.planner import make_plan
from sweeper.planning.rulebook.effects import QUESTIONS

MANY: dict[str, Any] = {"task": "classification", "labels": 3}


def answer(scene: Any, name: str, **facts: Any) -> Any:
    plan = make_plan(*scene(**facts))
    return next(item for item in plan.answers if item.question == QUESTIONS[name])


def test_costs_and_rates_of_candidates_are_stated_and_why_others_are_left_out(scene: Any) -> None:
    plan = make_plan(*scene(gpu_gib=180.0))
    texts = {item.question: item.answer for item in plan.answers}
    for candidate in plan.candidates:
        name, rate = candidate.strategy, candidate.parameters["learning_rate"].default
        rates = f"{name}: begin at {units.rate(float(rate))}, search"
        assert rates in texts[QUESTIONS["learning-rate"]]
        costs = f"{name}: {candidate.memory.peak_gib:.1f} GiB"
        assert costs in texts[QUESTIONS["full-or-lora"]]
    assert "full: left out, needs" in answer(scene, "full-or-lora", gpu_gib=24.0).answer


def test_how_much_data_counts_rows_a_class(scene: Any) -> None:
    found = answer(scene, "how-much-data", task="classification", labels=4, rows=400)
    assert (
        "You have 400 examples, 280 of them to train on: 70 for each of 4 classes." in found.answer
    )
    assert "many-rows-classification" in found.rules


def test_a_number_of_classes_that_is_not_known_is_told_beside_the_heads_rate(scene: Any) -> None:
    unknown = answer(scene, "learning-rate", task="classification").answer
    assert "New head: begin at 1e-2" in unknown
    assert "with two it begins at 1e-3" in unknown
    assert "assume two" in unknown
    assert "assume two" not in answer(scene, "learning-rate", **MANY).answer
