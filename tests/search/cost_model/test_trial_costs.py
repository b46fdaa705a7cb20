from __future__ import annotations

import math

import pytest
from curve_backend import make_plan
from optuna.distributions import CategoricalDistribution, FloatDistribution
from spaces import costs, report

from sweeper.plans import Parameter, Plan, Stage
from sweeper.search import optuna_space
from sweeper.search.alone import (
    SearchResult,
    Space,
    StopCondition,
    StrategySpace,
    TrialBudget,
    search,
)
from sweeper.search.cost_model.axes import axis_of
from sweeper.search.cost_model.cost_model import Trials
from sweeper.search.cost_model.trial_costs import TrialCosts, Untrained, of_baseline
from sweeper.search.search import Search
from sweeper.trials import BaselineResult


def test_a_perfect_trial_ranks_first() -> None:
    found = (0.2, 0.0, None)
    seen = [
        costs(cost, number=number, state="PRUNED" if cost is None else "COMPLETE")
        for number, cost in enumerate(found)
    ]
    assert [one.number for one in sorted(seen, key=lambda one: one.rank)] == [1, 0, 2]


STARTS = ("random", "probe")
RATE = Parameter(
    kind="float", log=True, low=3e-4, high=3e-3, allowed_low=1e-5, allowed_high=1e-2,
    default=1e-3, source="test",
)  # fmt: skip
HEAD_RATE = RATE.model_copy(update={"default": 2e-3})
START = Parameter(
    kind="categorical", choices=STARTS, allowed_choices=STARTS, default="random", source="test"
)
PARAMETERS = {"learning_rate": RATE, "head_init": START, "head_learning_rate": HEAD_RATE}
AXES = {
    name: axis_of(
        name,
        one,
        CategoricalDistribution(STARTS) if name == "head_init" else FloatDistribution(1e-5, 1e-2),
    )
    for name, one in PARAMETERS.items()
}
TUNED = Space(
    candidates=[StrategySpace(strategy=name, parameters=PARAMETERS) for name in ("lora", "full")],
    budget=TrialBudget(rungs=8, first_rung=8),
)
PROBE = 0.2


def objective(strategy, parameters):
    """Whoever starts from the probe ends near it, the nearer the lower the rate; others do not."""
    rate = math.log10(parameters["learning_rate"])
    moved = 0.08 * (rate + 5) ** 2
    end = PROBE + moved if parameters["head_init"] == "probe" else 0.5 + 0.02 * (rate + 3) ** 2
    yield report(8, end, 1.0)
    return end


def searched(told: float | None, trials: int = 5, seed: int = 0) -> SearchResult:
    known = Untrained({} if told is None else {"": told})
    return search(
        TUNED.model_copy(update={"seed": seed}), objective, StopCondition(trials), untrained=known
    )


LORA = StrategySpace(strategy="lora", parameters=PARAMETERS)
WITHOUT_START = StrategySpace(
    strategy="lora", parameters={"learning_rate": RATE, "r": RATE}, begins_as_base=True
)


def unmoved(known: Untrained, arm: StrategySpace = LORA, axes=AXES) -> TrialCosts | None:
    return known.as_trial(arm.strategy, arm, axes, {})


def test_it_is_a_trial_that_starts_from_the_probe_at_the_lowest_rate() -> None:
    one = unmoved(Untrained({"": PROBE}))
    assert one is not None
    assert one.parameters == {
        "learning_rate": pytest.approx(1e-5),
        "head_init": "probe",
        "head_learning_rate": pytest.approx(math.sqrt(3e-4 * 2e-3)),
    }
    assert (one.cost, one.complete, one.untrained, one.seconds) == (PROBE, True, True, 0.0)


def test_who_writes_begins_as_the_base_model_is_but_not_with_prompts_before_it() -> None:
    axes = dict.fromkeys(WITHOUT_START.parameters, AXES["learning_rate"])
    one = unmoved(Untrained(bases={"": 3.0}), WITHOUT_START, axes)
    assert one is not None
    assert (one.parameters["learning_rate"], one.cost) == (pytest.approx(1e-5), 3.0)
    assert one.parameters["r"] == RATE.default
    prompts = StrategySpace(strategy="prefix", parameters=WITHOUT_START.parameters)
    assert unmoved(Untrained(bases={"": 3.0}), prompts, axes) is None


def test_nothing_follows_from_losses_of_models_that_trials_do_not_begin_as() -> None:
    both = Untrained({"": PROBE}, {"": 3.0})
    rate = {"learning_rate": AXES["learning_rate"]}
    assert unmoved(both, LORA, rate) is None  # the start is fixed
    assert unmoved(Untrained({"another": PROBE}, {"another": 3.0})) is None
    assert unmoved(both, LORA, {"head_init": AXES["head_init"]}) is None  # no rate
    other = axis_of("head_init", START, CategoricalDistribution(("random", "zero")))
    assert unmoved(both, LORA, AXES | {"head_init": other}) is None


def test_parameters_that_do_not_exist_beside_the_probe_are_left_out() -> None:
    plan = make_plan()
    known = optuna_space.distributions(plan)
    lora = plan.keyed["lora"]
    axes = {
        name: axis_of(name, one, known[f"lora.{name}"])
        for name, one in lora.parameters.items()
        if one.searched
    }
    conditioned = [name for name, one in lora.parameters.items() if one.condition is not None]
    assert conditioned
    one = Untrained({lora.model: PROBE}).as_trial("lora", lora, axes, {})
    assert one is not None
    assert not set(conditioned) & set(one.parameters)


def test_the_heads_own_trial_counts_before_what_the_baseline_said() -> None:
    candidates = make_plan().keyed
    model = candidates["head"].model
    ended = costs(0.4, key="head", origin="default")
    running = costs(None, key="head", origin="default", state=None)
    said = Untrained({model: 0.5})
    assert said.with_linear_heads(candidates, {}).probes == {model: 0.5}
    assert said.with_linear_heads(candidates, {running.key: [running]}).probes == {model: 0.5}
    assert said.with_linear_heads(candidates, {ended.key: [ended]}).probes == {model: 0.4}
    assert Untrained().with_linear_heads(candidates, {ended.key: [ended]}).probes == {model: 0.4}


def test_a_good_probe_is_started_from_at_once_and_a_bad_one_is_not() -> None:
    for seed in range(5):
        good = searched(PROBE, seed=seed).trials[2].config.parameters
        assert good["head_init"] == "probe"
        assert good["learning_rate"] < 3e-4
        bad = searched(0.9, seed=seed).trials[2].config.parameters
        assert bad["head_init"] == "random"


def test_the_untrained_model_stays_an_incumbent_after_a_trial_has_started_from_it() -> None:
    def trial(number: int, loss: float, **parameters: object) -> TrialCosts:
        return costs(loss, number=number, parameters=parameters)

    def best(*seen: TrialCosts) -> list[int]:
        return [one.number for one in Trials(AXES, seen, TrialBudget()).incumbents]

    untrained = unmoved(Untrained({"": PROBE}))
    assert untrained is not None
    rates = {"learning_rate": 1e-3, "head_learning_rate": 2e-3}
    random = trial(0, 0.5, head_init="random", **rates)
    probe = trial(1, 0.3, head_init="probe", **rates)
    assert best(random, untrained) == [-1, 0]
    assert best(random, probe, untrained) == [-1, 1, 0]


def test_a_search_that_knows_the_probe_gets_further() -> None:
    losses = {
        told: [searched(told, 8, seed).best.result.validation_loss for seed in range(8)]
        for told in (PROBE, None)
    }
    assert max(losses[PROBE]) < 0.3
    assert sum(losses[PROBE]) < sum(losses[None])


def test_defaults_come_before_anything_that_the_probe_suggests() -> None:
    first = searched(PROBE).trials[:2]
    assert [(one.config.strategy, one.config.parameters["head_init"]) for one in first] == [
        ("lora", "random"),
        ("full", "random"),
    ]


def baselines_of(plan: Plan) -> Untrained:
    search = Search(plan)
    losses = {"tfidf": 0.8, "probe": 0.7, "zero_shot": 3.0, "few_shot": 2.0}
    for name, loss in losses.items():
        result = BaselineResult(name=name, title=name, validation_loss=loss)
        search.add_untrained(of_baseline(plan, result))
    return search._sampler.untrained


def test_a_search_learns_from_baselines_that_are_untrained_models() -> None:
    plan = make_plan()
    model = plan.candidates[0].model
    assert baselines_of(plan) == Untrained({model: 0.7}, {model: 3.0})


def test_after_a_stage_trials_do_not_begin_as_the_base_model_is() -> None:
    plan = make_plan()
    stage = {"stages": {"feature": Stage.model_construct()}}
    first, *others = plan.candidates
    changed = {"candidates": (first.model_copy(update=stage), *others)}
    assert baselines_of(plan.model_copy(update=changed)) == Untrained()
