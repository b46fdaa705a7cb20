from __future__ import annotations

import math
import statistics
from collections import Counter

import optuna
import pytest
from curve_backend import make_plan
from optuna.trial import TrialState

from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.loss_model.observations import FAILURE, ORIGIN
from sweeper.search.named import make_sampler
from sweeper.search.search import known_starts
from sweeper.trials import Trial


def fixed(plan: Plan, start: Trial) -> dict[str, object]:
    key = start.strategy
    return optuna_space.fixed(key, plan.candidate(key), start.parameters)


def replay(plan: Plan, loss, trials: int = 20, sampler: str = "sweeper"):
    """Runs a study in memory; ``loss`` maps (strategy, parameters) to a final loss."""
    study = optuna.create_study()
    slots = list(known_starts(plan, trials))
    for number in range(trials):
        known = slots[number] if number < len(slots) else None
        study.enqueue_trial(
            fixed(plan, known) if known else {},
            user_attrs={ORIGIN: known.origin if known else "search"},
        )
    seen = []
    for number in range(trials):
        study.sampler = make_sampler(sampler, plan, number)
        trial = study.ask()
        key, parameters = optuna_space.suggest(trial, plan)
        value = loss(key, parameters)
        seen.append((key, parameters, value))
        if math.isfinite(value):
            study.tell(trial, value)
        else:
            trial.set_user_attr(FAILURE, "diverged")
            study.tell(trial, state=TrialState.FAIL)
    return seen


def bowl(optimum: dict[str, float], floor: dict[str, float]):
    def loss(key: str, parameters) -> float:
        if key == "head":
            return 0.45
        return floor[key] + 0.3 * (math.log10(parameters["learning_rate"]) - optimum[key]) ** 2

    return loss


INSIDE = bowl({"lora": -3.7, "full": -4.6}, {"lora": 0.30, "full": 0.35})
# The rules say 1e-4 to 3e-4 and 1e-5 to 5e-5; the truth lies far above.
MISLED = bowl({"lora": -2.6, "full": -3.5}, {"lora": 0.30, "full": 0.32})


def best(seen) -> float:
    return min(value for _, _, value in seen)


def test_the_same_seed_and_history_give_the_same_trials() -> None:
    assert replay(make_plan(), INSIDE) == replay(make_plan(), INSIDE)
    assert replay(make_plan(seed=1), INSIDE) != replay(make_plan(), INSIDE)


def test_no_configuration_is_tried_twice_and_the_head_only_once() -> None:
    seen = replay(make_plan(), INSIDE)
    configurations = {(key, tuple(sorted(p.items()))) for key, p, _ in seen}
    assert len(configurations) == 20
    assert Counter(key for key, _, _ in seen)["head"] == 1


def test_early_trials_stay_within_half_a_decade_of_best_practice_mostly() -> None:
    rates = [
        p["learning_rate"]
        for seed in range(8)
        for key, p, _ in replay(make_plan(seed=seed), INSIDE, 8)
        if key == "lora"
    ]
    inside = [1e-4 / 3.2 <= rate <= 3e-4 * 3.2 for rate in rates]
    assert statistics.mean(inside) > 0.7


def test_first_the_rate_alone_is_moved_from_the_default() -> None:
    plan = make_plan()
    default = plan.candidate("lora").defaults()
    seen = [p for key, p, _ in replay(plan, INSIDE, 12) if key == "lora"]
    assert seen[0] == default
    for parameters in seen[1:3]:
        assert parameters["learning_rate"] != default["learning_rate"]
        assert {**parameters, "learning_rate": default["learning_rate"]} == default


def test_a_wrong_prior_is_overruled_by_widening_beyond_best_practice() -> None:
    gaps = [best(replay(make_plan(seed=seed), MISLED)) - 0.30 for seed in range(6)]
    default = MISLED("lora", {"learning_rate": math.sqrt(1e-4 * 3e-4)}) - 0.30
    assert default > 0.3
    assert statistics.median(gaps) < 0.05


def test_it_beats_random_search_over_the_allowed_range_in_the_median() -> None:
    ours = [best(replay(make_plan(seed=seed), INSIDE)) for seed in range(6)]
    others = [
        best(replay(make_plan(seed=seed), INSIDE, sampler="optuna:RandomSampler"))
        for seed in range(6)
    ]
    assert statistics.median(ours) <= statistics.median(others)


def test_a_weak_strategy_loses_trials_but_not_all() -> None:
    weak = bowl({"lora": -3.7, "full": -4.6}, {"lora": 0.30, "full": 0.9})
    counts = Counter(key for key, _, _ in replay(make_plan(), weak))
    assert counts["lora"] > counts["full"] >= 3


def test_a_candidate_that_only_fails_is_left_out() -> None:
    def loss(key: str, parameters) -> float:
        return math.inf if key == "full" else INSIDE(key, parameters)

    counts = Counter(key for key, _, _ in replay(make_plan(), loss))
    assert counts["full"] == 3


def test_a_candidate_that_got_no_default_slot_starts_with_its_default() -> None:
    plan = make_plan(5)
    seen = replay(plan, INSIDE, 5)
    first = next(parameters for key, parameters, _ in seen if key == "full")
    assert first == plan.candidate("full").defaults()


def test_a_half_suggested_trial_goes_on_with_what_it_has() -> None:
    plan = make_plan()
    study = optuna.create_study(sampler=make_sampler("sweeper", plan, 0))
    trial = study.ask()
    known = optuna_space.distributions(plan)
    trial.suggest_categorical("strategy", known["strategy"].choices)
    for name, value in (("strategy", "lora"), ("lora.head_init", "random")):
        internal = known[name].to_internal_repr(value)
        if name not in trial.params:
            study._storage.set_trial_param(trial._trial_id, name, internal, known[name])
    again = optuna.Trial(study, trial._trial_id)
    key, parameters = optuna_space.suggest(again, plan)
    assert key == trial.params["strategy"]
    if key == "lora":
        assert parameters["head_init"] == "random"
        assert 1e-4 <= parameters["head_learning_rate"] <= 1e-1


@pytest.mark.parametrize(
    "name", ["optuna:RandomSampler", "optuna:TPESampler(multivariate=True)", "optuna:QMCSampler"]
)
def test_other_samplers_search_the_same_space_and_skip_the_head(name: str) -> None:
    counts = Counter(key for key, _, _ in replay(make_plan(12), INSIDE, 12, name))
    assert counts["head"] == 1
    assert counts.total() == 12
