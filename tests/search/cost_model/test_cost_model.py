from __future__ import annotations

import math

import numpy as np
import pytest
from spaces import LIMIT, RATE, SPACE, beyond, costs, ended, report

from sweeper.plans import Configuration, Parameter
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
from sweeper.search.cost_model.cost_model import (
    MAX_MODEL_TRIALS,
    MIN_MODEL_TRIALS,
    CostModel,
    StudyCosts,
    Trials,
    log_within_limits,
    thinned,
)
from sweeper.search.cost_model.trial_costs import TrialCosts
from sweeper.search.pruner import PeerComparison
from sweeper.search.sampler import statistics_of

RATE_AXES = {
    "learning_rate": axis_of(
        "learning_rate", RATE, optuna_space.distributions(SPACE)["lora.learning_rate"]
    )
}
GENERATOR = np.random.default_rng(0)


def trials(count: int, key: str = "lora") -> list[TrialCosts]:
    rates = 10 ** GENERATOR.uniform(-5, -2, count)
    losses = 0.3 + (np.log10(rates) + 3) ** 2 + GENERATOR.normal(0, 0.01, count)
    return [
        costs(float(loss), key=key, number=number, parameters={"learning_rate": float(rate)})
        for number, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]  # fmt: skip


def model(own: int, *others: int) -> CostModel:
    return CostModel(
        Trials(RATE_AXES, trials(own), SPACE.budget),
        lambda points: np.zeros(len(points)),
        StudyCosts(),
        [Trials(RATE_AXES, trials(count, "full"), SPACE.budget) for count in others],
    )


def test_few_trials_are_all_told_and_of_many_the_best_the_last_and_an_even_rest() -> None:
    seen = trials(200)
    assert thinned(seen, 200) == seen
    kept = thinned(seen, 60)
    assert len(kept) == 60
    assert [one.number for one in kept] == sorted(one.number for one in kept)
    best = sorted(seen, key=lambda one: one.rank)[:20]
    assert all(one in kept for one in [*best, *seen[-20:]])
    assert np.diff([one.number for one in kept]).max() < 20


def test_what_a_model_is_told_is_bounded_and_at_least_half_its_own() -> None:
    def told(made: CostModel) -> list[int]:
        own, others = made._inputs
        return [len(own.trials), *(len(one.trials) for one in others)]

    assert told(model(40, 60)) == [40, 60]
    assert told(model(100, 20)) == [100, 20]
    assert told(model(500, 20)) == [MAX_MODEL_TRIALS - 20, 20]
    assert told(model(500, 400)) == [MAX_MODEL_TRIALS // 2, MAX_MODEL_TRIALS // 2]
    many = told(model(300, 4, 300, 300, 300, 300))
    assert many[0] == MIN_MODEL_TRIALS // 2
    assert many[1] == 4
    assert sum(many) == MIN_MODEL_TRIALS


def test_a_model_of_many_trials_still_knows_where_the_best_ones_are() -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 8e-3]
    made = model(600, 600)
    rows = made._encoder.matrix([{"learning_rate": rate} for rate in rates])
    predicted = made._process.predict(rows)[0]
    assert predicted.argmin() == 2
    assert abs(predicted[2] - 0.3) < 0.03


RATE = Parameter(
    kind="float", log=True, low=1e-4, high=3e-4, allowed_low=1e-5, allowed_high=1e-2,
    default=2e-4, source="test",
)  # fmt: skip
REPLAY = Parameter(
    kind="categorical", choices=(0.0, 0.2), allowed_choices=(0.0, 0.2), default=0.0, source="test"
)


def space(seed: int) -> Space:
    parameters = {"learning_rate": RATE, "replay_share": REPLAY}
    lora = StrategySpace(strategy="lora", parameters=parameters)
    return Space(candidates=[lora], budget=TrialBudget(rungs=8, first_rung=8), seed=seed)


def forgets(limit: float):
    """Losses are lowest at 4e-3; what is forgotten grows with the rate, and replay halves it."""

    def objective(strategy, parameters):
        rate = parameters["learning_rate"]
        end = 0.3 + 0.2 * math.log10(rate / 4e-3) ** 2
        lost = 100 * (rate / 1e-3) ** 0.7 * (0.5 if parameters["replay_share"] else 1.0)
        for rung in range(1, 9):
            loss = end + (1 - end) * math.exp(-rung / 2)
            yield report(rung, loss, 2.0 * rung, measures=beyond((lost - limit) / 100))
        return end

    return objective


def within(searched: SearchResult, limit: float) -> float:
    """The lowest loss among trials that lose no more than the limit, whatever they were told."""
    objective = forgets(limit)
    kept = [
        one.result.validation_loss
        for one in searched.trials
        if one.result.state == "COMPLETE"
        and next(objective("lora", one.config.parameters)).measures["lost"].value <= 0
    ]
    return min(kept)


@pytest.mark.parametrize("seed", range(3))
def test_the_search_moves_away_from_an_optimum_that_breaks_the_limit(seed: int) -> None:
    free = search(space(seed), forgets(1e9), StopCondition(trials=16), limits=[LIMIT])
    bound = search(space(seed), forgets(50.0), StopCondition(trials=16), limits=[LIMIT])
    assert free.best is not None
    assert free.best.config.parameters["learning_rate"] == pytest.approx(4e-3, rel=0.6)
    assert bound.best is not None
    # 50 points are lost at a rate of 3.7e-4 without replay, and of 1e-3 with it.
    lowest = 0.3 + 0.2 * math.log10(1e-3 / 4e-3) ** 2
    assert bound.best.result.validation_loss == pytest.approx(lowest, abs=0.02)
    assert bound.best.config.parameters["replay_share"] == 0.2
    assert within(free, 50.0) > bound.best.result.validation_loss + 0.02


def test_where_no_trial_keeps_to_the_limit_the_search_goes_where_less_is_lost() -> None:
    # The default loses 32 points, and 12 are allowed: at rates under 5e-5, or 1.3e-4 with replay.
    searched = search(space(0), forgets(12.0), StopCondition(trials=14), limits=[LIMIT])
    assert searched.trials[0].final is None
    assert searched.best is not None


def test_the_chance_to_keep_to_a_limit_falls_towards_where_it_was_broken() -> None:
    points = np.asarray([[0.0], [0.5], [1.0], [1.5]])
    violation = np.asarray([-0.2, -0.1, 0.3, 0.8])
    chances = np.exp(log_within_limits(points, violation, np.asarray([[0.1], [0.7], [1.4]])))
    assert chances[0] > 0.9
    assert 0.1 < chances[1] < 0.9
    assert chances[2] < 0.05


def observed(number: int, loss: float, violation: float | None) -> TrialCosts:
    curve = {rung: loss + 0.1 * (8 - rung) for rung in range(1, 9)}
    parameters = {"learning_rate": 2e-4, "replay_share": 0.0}
    known = {"reported": curve, "violation": violation}
    return costs(loss, number=number, parameters=parameters, seconds=1.0, **known)


def test_trials_over_the_limit_are_neither_the_best_known_nor_what_others_are_stopped_by() -> None:
    over, within = observed(1, 0.3, 0.02), observed(2, 0.5, -0.01)
    assert statistics_of([over, within]).best == 0.5
    assert statistics_of([over]).best == math.inf
    assert within.rank < over.rank
    own = observed(3, 0.9, None)
    shown = observed(1, 0.3, None)
    far = PeerComparison(own, 6, [over], [over], [over], 0.9).decide()
    assert not far.prune
    assert PeerComparison(own, 6, [shown], [], [shown], 0.9).decide().prune


def test_a_trial_without_a_limit_of_its_own_is_no_measurement() -> None:
    result = ended("COMPLETE", 0.5, measures=beyond(0.1))
    limits = [LIMIT._replace(most=math.inf)]
    trial = TrialCosts.of(Configuration(strategy="lora"), {}, result, SPACE, limits)
    assert trial.violation is None
    assert trial.within_limits


def test_without_a_limit_nothing_is_weighed() -> None:
    seen = [observed(1, 0.3, None), observed(2, 0.5, -0.1)]
    model = CostModel(Trials({}, seen, TrialBudget()), lambda points: np.zeros(len(points)))
    rows = np.zeros((3, 0))
    assert (model._log_within_limits([observed(2, 0.5, -0.1)], rows) == 0.0).all()
    assert (model._log_within_limits([], rows) == 0.0).all()
