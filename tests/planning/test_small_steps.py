"""One more example, GiB or parameter moves a plan by one step at most, and never back."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.advice.held_out import without
from sweeper.errors import NothingFits
from sweeper.facts.models.catalogue import entries
from sweeper.facts.models.model import catalogue_facts
from sweeper.hyperparameters import BATCH, EPOCHS, TARGET_MODULES
from sweeper.planning.budget.trial_budget import MAX_EPOCHS, MIN_STEPS
from sweeper.planning.candidates import rated_model
from sweeper.planning.planner import epochs_of, make_plan, ranked_candidates
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.rulebook.conditions import comparisons
from sweeper.plans import Candidate, Parameter, Rejected

BOOK = rule_book()
# Every number of examples at which a rule changes its mind, and one fewer.
BOUNDS = {
    int(test.bound)
    for rule in BOOK.rules
    for test in comparisons(rule.when)
    if test.fact == "examples"
}
ROWS = sorted(
    {50, 10**6}
    | {bound - less for bound in BOUNDS for less in (0, 1)}
    | {round(50 * 1.4**n) for n in range(30)}
)


THREE = BOOK._replace(
    strategies={name: BOOK.strategies[name] for name in ("lora", "qlora", "full")}
)


def rated(
    scene: Any, rows: int, book: RuleBook = BOOK, **known: Any
) -> dict[str, dict[str, Parameter]]:
    spec, facts = scene(rows=rows, **known)
    base = rated_model(book, spec, facts, facts.models[0])
    return {name: strategy.parameters for name, strategy in base.strategies.items()}


def open_range(parameter: Parameter) -> bool:
    """Whether the search can look on both sides of the default, as far as that is allowed."""
    if not parameter.searched or parameter.choices is not None:
        return True
    low, default, high = (float(x) for x in (parameter.low, parameter.default, parameter.high))  # type: ignore[arg-type]
    return (low < default or default == parameter.allowed_low) and (
        default < high or default == parameter.allowed_high
    )


@pytest.mark.parametrize(("task", "rows"), [("classification", 300), ("code", 150_000)])
def test_every_default_lies_inside_its_range(scene: Any, task: str, rows: int) -> None:
    edges = []
    for name in entries():
        model = catalogue_facts(name)
        for strategy, parameters in rated(scene, rows, task=task, model=[model]).items():
            edges += [
                (name, strategy, key)
                for key, parameter in parameters.items()
                if not open_range(parameter)
            ]
    assert edges == []


def test_the_ends_of_whole_numbers_are_whole(scene: Any) -> None:
    for rows in ROWS:
        for strategy in rated(scene, rows).values():
            for name, parameter in strategy.items():
                if parameter.kind == "int":
                    ends = (parameter.low, parameter.default, parameter.high)
                    assert all(float(end) == round(float(end)) for end in ends), (rows, name)  # type: ignore[arg-type]


NUMBERS = ("learning_rate", "r", EPOCHS)


@pytest.mark.parametrize("task", ["classification", "instruction", "code"])
@pytest.mark.parametrize("model", ["minilm", "smollm2", "7B", "70B"])
def test_one_percent_more_rows_move_no_number_by_more_than_two(
    scene: Any, task: str, model: str
) -> None:
    for rows in ROWS:
        before, after = (
            rated(scene, n, THREE, task=task, model=model) for n in (rows, rows * 101 // 100)
        )
        for strategy, old in before.items():
            new = after[strategy]
            for name in NUMBERS:
                for end in ("default",) if name == EPOCHS else ("low", "default", "high"):
                    ends = [getattr(one[name], end) for one in (old, new) if name in one]
                    if name in old and ends[0]:
                        step = 1 / ends[0] if name == "r" else 0.0  # a whole number
                        assert ends[1] == pytest.approx(ends[0], rel=0.02 + step), (rows, name)
            assert (
                old[TARGET_MODULES].default == new[TARGET_MODULES].default if "r" in old else True
            )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_one_percent_more_parameters_move_no_rate_by_more_than_five(scene: Any, kind: str) -> None:
    task = "classification" if kind == "encoder" else "instruction"
    shape = "minilm" if kind == "encoder" else "7B"
    sizes = [round(2e7 * 1.01**n) for n in range(0, 820, 7)]
    for size in sizes:
        found = []
        for parameters in (size, size * 101 // 100):
            changes = {"parameters": parameters}
            found.append(rated(scene, 5_000, THREE, task=task, model=shape, model_changes=changes))
        for strategy in THREE.strategies:
            rates = [float(one[strategy]["learning_rate"].default) for one in found]
            assert rates[1] == pytest.approx(rates[0], rel=0.05), (size, strategy)


def test_more_rows_never_give_fewer_updates(scene: Any) -> None:
    for task, model in (("classification", "minilm"), ("instruction", "7B"), ("code", "smollm2")):
        known: dict[str, Any] = {"labels": 2} if task == "classification" else {}
        before = 0.0
        for rows in sorted({*ROWS, *range(30, 700, 7)}):
            spec, facts = scene(task, model, rows, gpu_gib=80.0, **known)
            base = rated_model(BOOK, spec, facts, facts.models[0])
            batch = int(base.strategies["lora"].parameters[BATCH].default)
            updates = epochs_of(spec, facts, base) * facts.data.train_rows / batch
            assert updates >= before * 0.999, (task, rows)
            before = updates


@pytest.mark.parametrize(
    ("name", "low", "default", "high"),
    [
        ("google-bert/bert-base-uncased", 1.5e-5, 3e-5, 6e-5),
        ("FacebookAI/roberta-large", 5.9e-6, 1.5e-5, 3e-5),
        ("microsoft/deberta-v3-large", 5e-6, 8e-6, 1.2e-5),
        ("meta-llama/Llama-3.1-8B", 5e-6, 1e-5, 3e-5),
        ("meta-llama/Llama-3.1-70B", 1e-6, 2e-6, 1.5e-5),
    ],
)
def test_rates_of_full_fine_tuning_are_those_of_recipes_for_every_number_of_rows(
    scene: Any, name: str, low: float, default: float, high: float
) -> None:
    model = catalogue_facts(name)
    task = "classification" if model.kind == "encoder" else "instruction"
    for rows in (200, 10_000, 400_000):
        rate = rated(scene, rows, task=task, model=[model])["full"]["learning_rate"]
        assert (rate.low, rate.default, rate.high) == pytest.approx((low, default, high), rel=0.03)


@pytest.mark.parametrize(
    ("billion", "default"),
    [(0.125, 5e-4), (1, 6e-4), (8, 6e-4), (13, 4.99e-4), (27, 3e-4), (32, 3e-4), (70, 3e-4)],
)
def test_lora_rates_fall_from_the_sizes_that_sweeps_need_more_at(
    scene: Any, billion: float, default: float
) -> None:
    changes = {"parameters": round(billion * 1e9)}
    found = rated(scene, 10_000, task="instruction", model="7B", model_changes=changes)
    assert found["lora"]["learning_rate"].default == pytest.approx(default, rel=0.01)


def test_published_lora_rates_go_on_rising_for_smaller_models(scene: Any) -> None:
    book = without(BOOK, "benchmarks/search/tables")
    spec, facts = scene("classification", "minilm", 2_000)
    rate = rated_model(book, spec, facts, facts.models[0]).strategies["lora"].parameters
    assert rate["learning_rate"].default == pytest.approx(9.53e-4, rel=0.01)


def test_encoders_are_tuned_on_all_layers_and_for_three_epochs_on_many_rows(scene: Any) -> None:
    bert = catalogue_facts("google-bert/bert-base-uncased")
    found = rated(scene, 393_000, task="classification", model=[bert])
    assert found["lora"][TARGET_MODULES].default == "all-linear"
    assert found["full"][EPOCHS].default == 3


def test_few_rows_get_a_least_number_of_optimizer_steps(scene: Any) -> None:
    for rows in range(50, 400, 14):
        plan = make_plan(*scene("classification", "minilm", rows, gpu_gib=None, labels=2))
        batch = int(plan.candidates[0].defaults()[BATCH])
        epochs = plan.budget.epochs
        steps = epochs * plan.facts.data.train_rows / batch
        assert epochs == MAX_EPOCHS or steps >= MIN_STEPS * 0.999


def options(scene: Any, **known: Any) -> tuple[list[Candidate], list[Rejected]]:
    try:
        return ranked_candidates(BOOK, *scene(**known))
    except NothingFits:
        return [], []


@pytest.mark.parametrize(
    ("model", "least"), [("minilm", 1), ("smollm2", 2), ("7B", 4), ("13B", 4), ("70B", 20)]
)
def test_more_memory_never_removes_an_option(scene: Any, model: str, least: float) -> None:
    task = "classification" if model == "minilm" else "instruction"
    had: set[str] = set()
    while least <= 192:
        candidates, _ = options(scene, task=task, model=model, gpu_gib=round(least, 1))
        has = {one.strategy for one in candidates}
        assert had <= has, (least, had - has)
        had, least = has, least * 1.25
    assert "lora" in had
