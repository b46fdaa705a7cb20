"""One more example, GiB or parameter moves a plan by one step at most, and never back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sweeper.errors import NothingFits
from sweeper.facts.models.catalogue import entries
from sweeper.facts.models.model import catalogue_facts
from sweeper.hyperparameters import BATCH, EPOCHS, TARGET_MODULES
from sweeper.planning.budget.trial_budget import LEAST_STEPS, MOST_EPOCHS
from sweeper.planning.candidates import rated_model
from sweeper.planning.planner import make_plan, ranked_candidates
from sweeper.planning.rulebook.conditions import comparisons
from sweeper.planning.rulebook.rules import rule_book
from sweeper.plans import Candidate, Parameter, Rejected

BOOK = rule_book()
DISCRETE = (BATCH, EPOCHS, "r", TARGET_MODULES)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
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


def rated(scene: Any, rows: int, **known: Any) -> dict[str, dict[str, Parameter]]:
    spec, facts = scene(rows=rows, **known)
    base = rated_model(BOOK, spec, facts, facts.models[0])
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


@pytest.mark.parametrize("task", ["classification", "instruction", "code"])
@pytest.mark.parametrize("model", ["smollm2", "7B", "70B"])
def test_choices_change_by_one_step_and_never_back(scene: Any, task: str, model: str) -> None:
    walked = [(rows, rated(scene, rows, task=task, model=model)) for rows in ROWS]
    for (_, before), (rows, after) in pairwise(walked):
        for strategy in ("lora", "full"):
            old, new = before[strategy], after[strategy]
            batches = [BATCHES.index(int(one[BATCH].default)) for one in (old, new)]
            assert batches[1] - batches[0] in (0, 1), rows
            epochs = [float(one[EPOCHS].default) for one in (old, new)]
            assert epochs[0] - epochs[1] in (0, 1), rows
        assert before["lora"][TARGET_MODULES].default == after["lora"][TARGET_MODULES].default
        ranks = [int(one["lora"]["r"].default) for one in (before, after)]
        assert ranks[0] <= ranks[1] <= 2 * ranks[0], rows


@pytest.mark.parametrize("task", ["classification", "instruction", "code"])
@pytest.mark.parametrize("model", ["smollm2", "7B", "70B"])
def test_one_more_example_changes_one_choice_at_most(scene: Any, task: str, model: str) -> None:
    for bound in sorted(BOUNDS):
        before, after = (rated(scene, rows, task=task, model=model) for rows in (bound - 1, bound))
        for strategy in before:
            changed = [
                name
                for name in DISCRETE
                if name in before[strategy]
                and before[strategy][name].default != after[strategy][name].default
            ]
            assert len(changed) <= 1, (bound, strategy, changed)


def test_rates_follow_the_batch(scene: Any) -> None:
    # LoRA's best rate was the same at batches of 16 and of 128.
    for strategy, factor in (("full", 2**0.5), ("lora", 1.0)):
        few, many = (rated(scene, n, model="7B")[strategy] for n in (49_999, 50_000))
        assert int(many[BATCH].default) == 2 * int(few[BATCH].default)
        ratio = float(many["learning_rate"].default) / float(few["learning_rate"].default)
        assert ratio == pytest.approx(factor, rel=0.03)
        told = "The default is multiplied by 1.4, since" in many["learning_rate"].why
        assert told == (factor != 1)


def test_few_rows_get_a_least_number_of_optimizer_steps(scene: Any) -> None:
    last = MOST_EPOCHS + 1.0
    for rows in range(50, 400, 14):
        plan = make_plan(*scene("classification", "minilm", rows, gpu_gib=None, labels=2))
        batch = int(plan.candidates[0].defaults()[BATCH])
        epochs = plan.budget.epochs
        steps = epochs * plan.facts.data.train_rows / batch
        assert epochs == MOST_EPOCHS or steps >= LEAST_STEPS
        assert epochs <= last
        last = epochs
    assert last == 4


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
        had, least = has, least * 1.12
    assert "lora" in had
