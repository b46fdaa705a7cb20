from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.planning.facttable import fact_values
from sweeper.planning.plan import Parameter
from sweeper.planning.planner import make_plan
from sweeper.planning.rules import RuleBook, rule_book
from sweeper.planning.space import Standing, standings


def book_with(tmp_path: Path, *changes: str) -> RuleBook:
    rules = [
        f"- id: mine-{number}\n  title: Mine {number}\n  then: {{parameters: {change}}}\n"
        f"  why: Because of {{examples}} rows.\n  source: me {number}\n"
        for number, change in enumerate(changes)
    ]
    (tmp_path / "own.yaml").write_text("".join(rules), encoding="utf-8")
    return rule_book((str(tmp_path),))


def standing(book: RuleBook, scene: Any, strategy: str = "lora", **facts: Any) -> Standing:
    spec, gathered = scene(**facts)
    return standings(book, fact_values(spec, gathered, gathered.models[0]))[strategy]


def rate(book: RuleBook, scene: Any, **facts: Any) -> tuple[Any, ...]:
    parameter = standing(book, scene, **facts).parameters["learning_rate"]
    return parameter.low, parameter.high, parameter.default


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("{lora.learning_rate: {range: [2.0e-4, 6.0e-4]}}", (2e-4, 6e-4, 2e-4)),
        ("{lora.learning_rate: {range: [3.0e-4, 6.0e-4]}}", (3e-4, 6e-4, 3e-4)),
        ("{lora.learning_rate: {narrow: [1.5e-4, 9.0e-3]}}", (1.5e-4, 3e-4, 2e-4)),
        ("{lora.learning_rate: {narrow: [5.0e-3, 9.0e-3]}}", (1e-4, 3e-4, 2e-4)),
        ("{lora.learning_rate: {widen: [2.0e-4, 4.0e-3]}}", (1e-4, 4e-3, 2e-4)),
        ("{lora.learning_rate: {scale: 2}}", (2e-4, 6e-4, 4e-4)),
        ("{lora.learning_rate: {scale: 1000}}", (1e-2, 1e-2, 1e-2)),
        ("{lora.learning_rate: {default: 3.0e-4}}", (1e-4, 3e-4, 3e-4)),
        ("{'*.learning_rate': {scale: 0.5}}", (5e-5, 1.5e-4, 1e-4)),
        (
            "{lora.learning_rate: {default_from: {fact: examples, times: 1.0e-7}}}",
            (2.31e-4, 6.93e-4, 4e-4),
        ),
        (
            "{lora.learning_rate: {default_from: {fact: classes, times: 1.0}}}",
            (1e-4, 3e-4, 2e-4),
        ),
    ],
)
def test_a_rule_changes_a_range(
    tmp_path: Path, scene: Any, change: str, expected: tuple[float, ...]
) -> None:
    assert rate(book_with(tmp_path, change), scene) == pytest.approx(expected)


def test_a_changed_parameter_names_its_rule(tmp_path: Path, scene: Any) -> None:
    book = book_with(tmp_path, "{lora.r: {range: [4, 32]}}")
    parameter = standing(book, scene).parameters["r"]
    assert parameter.source == "me 0"
    assert parameter.why == "Mine 0: Because of 4,000 rows."


def test_a_later_rule_wins_and_the_disagreement_is_shown(tmp_path: Path, scene: Any) -> None:
    book = book_with(tmp_path, "{lora.r: {range: [4, 6]}}", "{lora.r: {range: [40, 60]}}")
    found = standing(book, scene)
    assert (found.parameters["r"].low, found.parameters["r"].high) == (40, 60)
    caution = next(c for c in found.cautions if c.effect == "disagrees with mine-0")
    assert "Mine 0 gives 4 to 6" in caution.why
    assert "Mine 1 gives 40 to 60" in caution.why
    assert "me 0" in caution.why


def test_a_refinement_is_no_disagreement(tmp_path: Path, scene: Any) -> None:
    book = book_with(tmp_path, "{lora.r: {range: [8, 16]}}")
    assert not [c for c in standing(book, scene).cautions if c.rule == "mine-0"]


def test_a_rule_can_set_choices_a_prior_and_whether_to_search(tmp_path: Path, scene: Any) -> None:
    book = book_with(
        tmp_path,
        "{lora.target_modules: {choices: [qv], default: qv, searched: false}, "
        "lora.learning_rate: {prior: {center: 2.5e-4, spread: 0.1}}}",
    )
    found = standing(book, scene).parameters
    assert found["target_modules"].choices == ("qv",)
    assert found["target_modules"].searched is False
    assert found["learning_rate"].prior is not None
    assert found["learning_rate"].prior.center == 2.5e-4


def test_without_a_published_density_the_default_is_the_mode(scene: Any) -> None:
    found = standing(rule_book(), scene).parameters
    prior = found["learning_rate"].prior
    assert prior is not None
    assert prior.center == found["learning_rate"].default
    weights = found["per_device_train_batch_size"].prior
    assert weights is not None
    assert weights.weights == (0.25, 0.5, 0.25)


def test_head_parameters_exist_only_with_a_new_head(scene: Any) -> None:
    plain = standing(rule_book(), scene).parameters
    assert "head_learning_rate" not in plain
    headed = standing(rule_book(), scene, task="classification", labels=3).parameters
    assert headed["head_learning_rate"].default == 1e-2
    assert (headed["head_learning_rate"].low, headed["head_learning_rate"].high) == (1e-3, 3e-2)
    assert set(headed["head_init"].choices or ()) == {"random", "probe"}
    assert headed["head_init"].searched


def test_the_epochs_of_the_study_are_every_candidates(scene: Any) -> None:
    plan = make_plan(*scene(model="smollm2", training={"epochs": 7}))
    for candidate in plan.candidates:
        epochs: Parameter = candidate.parameters["num_train_epochs"]
        assert epochs.default == 7
        assert not epochs.searched


def test_small_models_with_few_steps_leave_the_best_practice_range(scene: Any) -> None:
    facts = {"task": "classification", "model": "minilm", "labels": 2, "gpu_gib": None}
    low, high, _ = rate(rule_book(), scene, rows=1500, **facts)
    assert (low, high) == (4e-4, 4e-3)
    low, high, _ = rate(rule_book(), scene, rows=15000, **facts)
    assert high < 4e-3


def test_prompt_methods_get_rates_far_above_loras(scene: Any) -> None:
    named = {"aim": {"strategies": ("lora", "prefix", "full")}}
    prefix = standing(rule_book(), scene, "prefix", **named).parameters["learning_rate"]
    lora = standing(rule_book(), scene, "lora", **named).parameters["learning_rate"]
    full = standing(rule_book(), scene, "full", **named).parameters["learning_rate"]
    assert float(prefix.default) >= 10 * float(lora.default)
    assert float(lora.default) == pytest.approx(10 * float(full.default))
