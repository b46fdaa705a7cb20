from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sweeper.evaluation.significance import Scores, with_shared_seeds
from sweeper.objective import Limit
from sweeper.search.finalists import (
    Trainings,
    choose,
    in_order,
    is_worse,
    recommend,
    seeds_dominate,
)
from sweeper.trials import Measure, TrialResult


def result(number: int, loss: float | None) -> TrialResult:
    state = "PRUNED" if loss is None else "COMPLETE"
    return TrialResult(number=number, attempt=1, seed=0, state=state, validation_loss=loss)


def test_the_best_of_each_strategy_comes_before_the_second_best_of_any() -> None:
    losses = {0: 0.30, 1: 0.31, 2: 0.32, 3: 0.50, 4: 0.60, 5: None}
    strategies = {0: "lora", 1: "lora", 2: "lora", 3: "full", 4: "head", 5: "head"}
    results = {number: result(number, loss) for number, loss in losses.items()}
    assert choose(results, strategies, 3) == [0, 3, 4]
    assert choose(results, strategies, 4) == [0, 1, 3, 4]
    assert choose(results, strategies, 1) == [0]
    assert choose({5: results[5]}, strategies, 3) == []


def finalist(
    trial: int,
    loss: float,
    *,
    spread: float = 0.0,
    noise: float = 0.3,
    memory: float = 1.0,
    seconds: float = 1.0,
    seeds: int = 3,
    over: float | None = None,
) -> Trainings:
    """Three trainings, whose means are ``spread`` apart; ``over`` a limit by so much."""
    generator = np.random.default_rng(trial)
    items = np.random.default_rng(99).exponential(1.0, 200) + generator.normal(0, noise, 200)
    items += loss - items.mean()
    losses = [loss + spread * (seed - (seeds - 1) / 2) for seed in range(seeds)]
    rows = [items + own - loss for own in losses]
    return trained(trial, rows, memory, seconds, over)


def trained(
    trial: int,
    rows: Sequence[ArrayLike],
    memory: float = 1.0,
    seconds: float = 1.0,
    over: float | None = None,
) -> Trainings:
    measures = {} if over is None else {"general": Measure(title="", unit="", value=over, base=0.0)}
    results = [
        result(trial, float(np.mean(row))).model_copy(
            update={
                "peak_memory_gib": memory, "training_seconds": seconds, "measures": measures,
            }
        )
        for row in rows
    ]  # fmt: skip
    return Trainings(trial, results, Scores.of(rows), limits=limit(0.0))


def apart(*finalists: Trainings) -> bool:
    """Whether the first two are told apart among all of them."""
    shared = with_shared_seeds({str(one.trial): one.scores for one in finalists if one.scores})
    return is_worse(finalists[0], finalists[1], shared)


def test_a_clear_difference_on_the_same_items_is_told_apart_and_a_small_one_is_not() -> None:
    # The paired differences have a standard error of about 0.3 * sqrt(2) / sqrt(200) = 0.03.
    best = finalist(1, 0.30)
    assert apart(best, finalist(2, 0.45))
    assert not apart(best, finalist(2, 0.32))


def test_seeds_that_disagree_widen_the_doubt() -> None:
    best = finalist(1, 0.30, spread=0.1)
    assert not apart(best, finalist(2, 0.45, spread=0.1))


@pytest.mark.parametrize(("of_seeds", "dominate"), [(3.0, True), (0.0, False)])
def test_seeds_dominate_by_their_noise_and_not_by_what_the_differences_are(
    of_seeds: float, dominate: bool
) -> None:
    rng = np.random.default_rng(0)
    for gain in (0.0, 1.0):
        rows = (
            gain * number + rng.normal(0, 10, 200) + of_seeds * rng.normal(0, 1, (3, 1))
            for number in range(3)
        )
        finalists = [trained(number, list(own)) for number, own in enumerate(rows)]
        assert seeds_dominate(finalists) is dominate
    alone = replace(finalists[0], scores=None)
    assert not seeds_dominate([alone, finalists[1]])
    assert not seeds_dominate([finalists[0], trained(2, [np.zeros(10)] * 3)])  # other items


def test_finalists_tell_how_much_the_seeds_of_the_others_vary() -> None:
    # Two means of three seeds alone have to differ by more than a third finalist leaves open.
    first, second, third = (
        finalist(trial, loss, spread=0.1, noise=0.0) for trial, loss in enumerate((0.3, 0.51, 0.52))
    )
    assert not apart(first, second)
    assert apart(first, second, third)
    assert not apart(first, second, finalist(2, 0.5, spread=0.4, noise=0.0))


def test_the_cheapest_that_cannot_be_told_apart_is_recommended() -> None:
    best = finalist(1, 0.30, memory=4.0)
    near = finalist(2, 0.31, memory=1.0)
    bad = finalist(3, 0.60, memory=0.1)
    assert [one.trial for one in in_order([bad, near, best])] == [1, 2, 3]
    assert recommend([best, near, bad]) == 2
    assert recommend([best, bad]) == 1
    assert recommend([]) is None


def test_time_decides_where_memory_is_the_same() -> None:
    slow, fast = finalist(1, 0.30, seconds=9), finalist(2, 0.31, seconds=3)
    assert recommend([slow, fast]) == 2


def test_costs_that_differ_as_repeats_do_leave_the_choice_to_the_loss() -> None:
    best = finalist(1, 0.30, memory=1.04, seconds=12)
    near = finalist(2, 0.31, memory=1.0, seconds=10)
    assert recommend([near, best]) == 1
    assert recommend([near, finalist(1, 0.30, memory=1.2, seconds=12)]) == 2
    assert recommend([near, finalist(1, 0.30, memory=1.04, seconds=14)]) == 2


def test_without_item_losses_the_means_alone_decide() -> None:
    first, second = (replace(finalist(n, loss), scores=None) for n, loss in ((1, 0.3), (2, 0.8)))
    assert apart(first, second)
    assert not apart(second, first)


def test_seeds_that_hardly_differ_do_not_blur_a_difference_that_the_items_show() -> None:
    # Twelve answers, each cheaper by about 0.45 nats, from three seeds that agree to a hundredth.
    gaps = np.array([0.18, 0.6, 1.44, 0.8, 0.11, 0.78, 1.3, 0.42, 0.42, 0.42, 0.0, 0.44])
    seeds = np.array([[-0.01], [0.0], [0.01]])
    low = 2.0 + seeds + np.zeros((3, 12))
    high = low + gaps
    better, worse = trained(1, low, 4.1, 77.0), trained(0, high, 2.8, 70.0)
    assert apart(better, worse)
    assert recommend([worse, better]) == 1


def forgetting(number: int, loss: float, points: float | None) -> TrialResult:
    general = Measure(title="lost", unit="nats", value=2.0 + (points or 0.0) / 100, base=2.0)
    measures = {} if points is None else {"general": general}
    return result(number, loss).model_copy(update={"measures": measures})


def limit(most: float) -> list[Limit]:
    return [Limit("general", most, "forgetting", 2, "")]


def test_trials_that_keep_to_the_limit_are_confirmed_before_those_that_do_not() -> None:
    points = {0: 9.0, 1: 1.0, 2: 2.0, 3: 8.0, 4: None}
    results = {n: forgetting(n, 0.1 * (n + 1), lost) for n, lost in points.items()}
    strategies = dict.fromkeys(points, "lora")
    assert choose(results, strategies, 3) == [0, 1, 2]
    assert choose(results, strategies, 3, limit(0.025)) == [1, 2, 4]
    assert choose(results, strategies, 4, limit(0.025)) == [1, 2, 4, 3]
    assert choose(results, strategies, 2, limit(0.005)) == [4, 1]


def test_the_recommendation_obeys_the_limits() -> None:
    best, kept, unknown = finalist(1, 0.30), finalist(2, 0.60), finalist(3, 0.90)
    assert recommend([best, kept, unknown]) == 1
    best, kept = finalist(1, 0.30, over=4.0), finalist(2, 0.60, over=-0.5)
    assert recommend([best, kept, unknown]) == 2
    assert recommend([best, finalist(2, 0.60, over=3.0)]) == 2
    assert [one.trial for one in in_order([best, kept, unknown])] == [2, 3, 1]
