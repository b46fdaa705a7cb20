from __future__ import annotations

import math
import random
import re
from pathlib import Path

import pytest
from curve_backend import make_plan
from spaces import RATE, SPACE, report

from sweeper.errors import SpecError
from sweeper.objective import Objective
from sweeper.plans import Configuration
from sweeper.search.alone import (
    Diverged,
    StopCondition,
    StrategySpace,
    search,
)
from sweeper.trials import FirstItems

DOCS = Path(__file__).parents[2] / "docs"


def bowl(strategy, parameters):
    away = math.log10(parameters["learning_rate"] / 1e-3)
    end = (0.3 if strategy == "lora" else 0.4) + 0.2 * away**2
    for rung in range(1, 9):
        yield report(rung, end + (1 - end) * math.exp(-rung / 2), 2.0 * rung)
    return end


def test_the_example_of_the_documentation_runs_and_finds_its_optimum(capsys) -> None:
    example = re.search(r"```python\n(.*?)```", (DOCS / "search-alone.md").read_text(), re.DOTALL)
    assert example is not None
    made: dict[str, object] = {}
    exec(example.group(1), made)
    searched = made["searched"]
    assert searched.best.config.strategy == "lora"
    assert searched.best.config.parameters["learning_rate"] == pytest.approx(2e-3, rel=1.0)
    assert "20 trials have ended" in capsys.readouterr().out


def test_defaults_come_first_and_trials_tell_how_they_ended() -> None:
    searched = search(SPACE, bowl, StopCondition(trials=12))
    assert [one.config.strategy for one in searched.trials[:2]] == ["lora", "full"]
    assert searched.trials[0].config.parameters == {"learning_rate": 2e-4}
    assert {one.result.state for one in searched.trials} == {"COMPLETE", "PRUNED"}
    assert all(one.result.pruned_because for one in searched.trials if one.result.state == "PRUNED")
    assert searched.best is not None
    finals = [one.final for one in searched.trials if one.final is not None]
    assert searched.best.final == min(finals)


def test_a_pruned_objective_is_closed_and_costs_what_it_took_so_far() -> None:
    closed = []

    def objective(strategy, parameters):
        try:
            yield from bowl(strategy, parameters)
        finally:
            closed.append(strategy)

    searched = search(SPACE, objective, StopCondition(trials=12))
    assert len(closed) == 12
    stopped = next(one for one in searched.trials if one.result.state == "PRUNED")
    assert stopped.result.seconds == [*stopped.reports.values()][-1].seconds < 16
    assert stopped.final is None
    assert searched.seconds == sum(one.result.seconds for one in searched.trials)


def test_what_rungs_say_of_their_items_is_doubted_by_the_pruner() -> None:
    """Three of a thousand items, of which each trial finds another hard, tell little."""

    def on_few(strategy, parameters):
        hard = random.Random(repr(parameters)).randrange(3)
        for rung in bowl(strategy, parameters):
            losses = [0.2 * rung.validation_loss] * 3
            losses[hard] = 2.6 * rung.validation_loss
            items = FirstItems.among(losses, of=1000)
            yield rung.model_copy(update={"first_items": items})

    def pruned(objective) -> int:
        tried = search(SPACE, objective, StopCondition(trials=20)).trials
        return sum(one.result.state == "PRUNED" for one in tried)

    assert pruned(on_few) < pruned(bowl)


@pytest.mark.parametrize(
    ("limit", "because"),
    [
        (StopCondition(trials=30, seconds=40.0), "40 seconds are spent"),
        (StopCondition(trials=30, target_loss=0.45), "the loss of 0.45 is reached"),
        (StopCondition(trials=3), "3 trials have ended"),
    ],
)
def test_a_search_ends_at_its_limit_and_says_which(limit: StopCondition, because: str) -> None:
    assert search(SPACE, bowl, limit).because == because


@pytest.mark.parametrize("how", ["raise", "infinite"])
def test_a_diverged_trial_fails_and_the_search_goes_on(how: str) -> None:
    def objective(strategy, parameters):
        if strategy == "full":
            if how == "raise":
                raise Diverged("the loss is not finite")
            yield report(1, math.inf, 2.0)
        yield from bowl(strategy, parameters)

    searched = search(SPACE, objective, StopCondition(trials=8))
    full = [one for one in searched.trials if one.key == "full"]
    assert {one.result.state for one in full} == {"FAIL"}
    assert any(one.result.state == "COMPLETE" for one in searched.trials)


ANSWERS = Objective(name="chrf", title="chrF", metric="chrf", computed_from="answers")


@pytest.mark.parametrize(
    ("objective", "rungs", "value", "state", "kind"),
    [
        ("loss", [], None, "FAIL", "error"),
        ("loss", [], 0.3, "COMPLETE", None),
        ("loss", [1, 8], None, "COMPLETE", None),
        ("loss", [1, 8], math.nan, "FAIL", "diverged"),
        ("answers", [1, 8], None, "FAIL", "error"),  # not measured at rungs
        ("answers", [1, 8], 0.3, "COMPLETE", None),
    ],
)
@pytest.mark.parametrize("sampler", ["sweeper", "optuna:TPESampler"])
def test_a_trial_without_a_value_fails(
    objective: str, rungs: list[int], value: float | None, state: str, kind: str | None, sampler
) -> None:
    def run(strategy, parameters):
        for rung in rungs:
            yield report(rung, 0.3 + 0.1 / rung, 2.0 * rung)
        return value

    space = SPACE.model_copy(update={"objective": ANSWERS} if objective == "answers" else {})
    searched = search(space, run, StopCondition(trials=6), sampler=sampler)
    results = [trial.result for trial in searched.trials]
    assert [result.state for result in results] == [state] * 6
    assert {result.failure and result.failure.kind for result in results} == {kind}
    assert (searched.best is not None) is (state == "COMPLETE")
    assert searched.seconds == 6 * 16 * bool(rungs)


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("optuna:TPESampler", "optuna:MedianPruner(n_startup_trials=2)"),
        ("optuna:RandomSampler", "optuna:SuccessiveHalvingPruner(min_resource=1)"),
        ("sweeper", "optuna:NopPruner"),
    ],
)
def test_other_samplers_and_pruners_search_the_same_space(sampler: str, pruner: str) -> None:
    searched = search(SPACE, bowl, StopCondition(trials=10), sampler=sampler, pruner=pruner)
    assert len(searched.trials) == 10
    pruned = any(one.result.state == "PRUNED" for one in searched.trials)
    assert pruned is (pruner != "optuna:NopPruner")


@pytest.mark.parametrize(
    "pruner",
    [
        "optuna:SuccessiveHalvingPruner(min_resource=1)",
        "optuna:HyperbandPruner(min_resource=1, max_resource=8)",
    ],
)
def test_others_pruners_do_not_hold_the_heads_end_against_first_rungs(pruner: str) -> None:
    head = StrategySpace(strategy="head", parameters={}, one_trial=True)
    space = SPACE.model_copy(update={"candidates": (*SPACE.candidates, head)})

    def objective(strategy, parameters):
        if strategy != "head":
            return (yield from bowl(strategy, parameters))
        yield report(8, 0.45, 0.5)
        return 0.45

    starts = [Configuration(strategy=name) for name in ("head", "lora")]
    searched = search(space, objective, StopCondition(2), starts=starts, pruner=pruner)
    assert [one.result.state for one in searched.trials] == ["COMPLETE", "COMPLETE"]


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(SpecError):
        search(SPACE, bowl, sampler="optuna:Nothing")


def test_a_strategy_without_anything_to_search_may_be_started_more_than_once() -> None:
    fixed = StrategySpace(strategy="fixed", parameters={})
    both = SPACE.model_copy(update={"candidates": (*SPACE.candidates, fixed)})
    starts = [Configuration(strategy="fixed")] * 4
    searched = search(both, bowl_anyhow, StopCondition(trials=8), starts=starts)
    assert sum(one.config.strategy == "fixed" for one in searched.trials) == 4


def bowl_anyhow(strategy, parameters):
    return (yield from bowl(strategy, parameters or {"learning_rate": 1e-3}))


def test_base_models_compete_and_the_worse_one_is_pruned_by_the_best_of_all() -> None:
    pairs = [
        StrategySpace(strategy="lora", parameters={"learning_rate": RATE}, model=model)
        for model in ("small", "large")
    ]

    def objective(strategy, parameters):
        # Every trial of the small model is worse than any of the large one.
        shift = 0.5 if strategy == "lora@small" else 0.0
        for rung in bowl("lora", parameters):
            yield report(rung.rung, rung.validation_loss + shift, rung.seconds)

    space = SPACE.model_copy(update={"candidates": tuple(pairs)})
    searched = search(space, objective, StopCondition(trials=16))
    states = {model: [] for model in ("small", "large")}
    for one in searched.trials:
        states[one.config.model].append(one.result.state)
    assert states["small"][:2] == ["COMPLETE", "PRUNED"]
    assert states["large"][:2] == ["COMPLETE"] * 2
    assert len(states["large"]) > len(states["small"])
    assert searched.best is not None
    assert searched.best.config.model == "large"


def test_a_plan_is_searched_like_a_space() -> None:
    def objective(strategy, parameters):
        yield report(8, 0.4 if strategy == "head" else 0.3, 1.0)

    searched = search(make_plan(), objective, StopCondition(trials=6))
    assert [one.config.strategy for one in searched.trials[:3]] == ["lora", "full", "head"]
    assert sum(one.config.strategy == "head" for one in searched.trials) == 1
