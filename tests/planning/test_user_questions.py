from __future__ import annotations

from typing import Any

from sweeper.planning.planner import make_plan
from sweeper.planning.rulebook.effects import QUESTIONS

MANY: dict[str, Any] = {"task": "classification", "labels": 3}


def answer(scene: Any, name: str, **facts: Any) -> Any:
    plan = make_plan(*scene(**facts))
    return next(item for item in plan.answers if item.question == QUESTIONS[name])


def test_full_or_lora_compares_their_costs(scene: Any) -> None:
    text = answer(scene, "full-or-lora", gpu_gib=180.0).answer
    assert text.startswith("Begin with lora.")
    assert "lora: " in text
    assert "full: " in text
    assert "trained parameters" in text


def test_full_that_does_not_fit_is_said_so_in_numbers(scene: Any) -> None:
    text = answer(scene, "full-or-lora", gpu_gib=24.0).answer
    assert "full: left out, needs" in text
    assert "the device has 24" in text


def test_the_rate_is_given_with_default_and_range(scene: Any) -> None:
    text = answer(scene, "learning-rate", gpu_gib=180.0).answer
    assert "lora: begin at 3e-4, search 1e-4 to 1e-3." in text
    assert "full: begin at 1.1e-5, search 5" in text


def test_a_new_head_has_its_own_rate(scene: Any) -> None:
    text = answer(scene, "learning-rate", task="classification", labels=3).answer
    assert "New head: begin at 1e-2, search 1e-3 to 3e-2." in text


def test_how_much_data_counts_rows_a_class(scene: Any) -> None:
    found = answer(scene, "how-much-data", task="classification", labels=4, rows=400)
    assert (
        "You have 400 examples, 280 of them to train on: 70 for each of 4 classes." in found.answer
    )
    assert "many-rows-classification" in found.rules


def test_both_statements_on_instruction_data_are_shown(scene: Any) -> None:
    text = answer(scene, "how-much-data").answer
    assert "10,000 to 100,000" in text
    assert "LIMA" in text


def test_whether_to_tune_at_all_names_the_baselines(scene: Any) -> None:
    heads = answer(scene, "fine-tune-at-all", task="classification", labels=12).answer
    assert "TF-IDF" in heads
    assert "12 classes" in heads
    texts = answer(scene, "fine-tune-at-all", rows=100).answer
    assert "with examples in its prompt" in texts


def test_rows_a_class_are_written_in_full(scene: Any) -> None:
    facts = {"task": "classification", "labels": 2, "rows": 5_600}
    assert "1,960 for each of 2 classes" in answer(scene, "how-much-data", **facts).answer


def test_a_number_of_classes_that_is_not_known_is_told_beside_the_heads_rate(scene: Any) -> None:
    unknown = answer(scene, "learning-rate", task="classification").answer
    assert "New head: begin at 1e-2" in unknown
    assert "with two it begins at 1e-3" in unknown
    assert "assume two" in unknown
    assert "assume two" not in answer(scene, "learning-rate", **MANY).answer
