import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.evaluation import significance
from sweeper.evaluation.significance import (
    Scores,
    holm,
    items_to_settle,
    lacking,
    mean_interval,
    outcome,
    paired_difference,
    paired_error,
    ratio,
    t_interval,
    with_shared_seeds,
)


def models(rng, items, seeds, *, gap=0.0, own=0.5, seed_spread=0.05, noise=0.3, binary=False):
    """Two models on the same items: shared difficulty, own items, own seeds."""
    shared = rng.normal(0, 1, items)

    def one(mean):
        scores = shared + rng.normal(mean, own, items)
        scores = (
            scores + rng.normal(0, seed_spread, (seeds, 1)) + rng.normal(0, noise, (seeds, items))
        )
        return Scores.of((scores > 0).astype(float) if binary else scores)

    return one(gap), one(0.0)


def coverage(runs, **how):
    """Share of runs whose interval holds the true difference (zero)."""
    rng = np.random.default_rng(7)
    hits = 0
    for run in range(runs):
        estimate = paired_difference(*models(rng, **how), seed=run)
        hits += estimate.low <= 0 <= estimate.high
    return hits / runs


@pytest.mark.parametrize(
    ("how", "least"),
    [
        ({"items": 100, "seeds": 3, "seed_spread": 0.2}, 0.93),
        ({"items": 100, "seeds": 3, "seed_spread": 0.05, "binary": True}, 0.93),
        ({"items": 100, "seeds": 1, "seed_spread": 0.0}, 0.90),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(how, least):
    assert coverage(200, **how) >= least


def test_a_bootstrap_over_three_seeds_alone_would_not_cover():
    # Why seeds enter by t: means of three seeds only, items without any noise of their own.
    rng = np.random.default_rng(3)
    ours = bootstrap = 0
    for run in range(200):
        means = rng.normal(0, 1, 3)
        drawn = rng.choice(means, (500, 3)).mean(axis=1)
        low, high = np.quantile(drawn, (0.025, 0.975))
        bootstrap += low <= 0 <= high
        estimate = mean_interval(Scores.of(np.repeat(means[:, None], 5, axis=1)), seed=run)
        ours += estimate.low <= 0 <= estimate.high
    assert bootstrap / 200 < 0.85
    assert ours / 200 > 0.92


def test_pairing_narrows_what_the_same_items_share():
    first, second = models(np.random.default_rng(0), 200, 3, own=0.1, seed_spread=0.0, noise=0.05)
    paired = paired_difference(first, second)
    shuffled = Scores.of(second.items[:, np.random.default_rng(1).permutation(200)])
    unpaired = paired_difference(first, shuffled)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 3


def test_the_same_draws_every_time():
    pair = models(np.random.default_rng(0), 80, 3)
    assert paired_difference(*pair) == paired_difference(*pair)


def test_difference_changes_its_sign_with_the_order():
    first, second = models(np.random.default_rng(0), 150, 3, gap=0.4)
    forth, back = paired_difference(first, second), paired_difference(second, first)
    assert forth.value == pytest.approx(-back.value)
    assert forth.low == pytest.approx(-back.high, abs=0.02)


def test_agreement_on_few_items_is_not_certainty():
    twenty = Scores.of([[1.0] * 18 + [0.0] * 2])
    estimate = paired_difference(twenty, twenty)
    assert estimate.value == 0
    assert estimate.low < -0.01
    assert outcome(estimate, 0.01, higher_is_better=True) == "within noise"
    many = Scores.of(2 * [[1.0] * 9000 + [0.0] * 1000])
    settled = paired_difference(many, many)
    assert outcome(settled, 0.01, higher_is_better=True) == "equivalent"


def test_all_right_is_not_a_hundred_per_cent_for_certain():
    estimate = mean_interval(Scores.of([[1.0] * 50]))
    assert estimate.value == estimate.high == 1.0
    assert 0.85 < estimate.low < 0.99


def test_one_item_has_no_interval():
    estimate = paired_difference(Scores.of([[1.0]]), Scores.of([[0.0]]))
    assert math.isinf(estimate.low)
    assert estimate.p == 1.0


def test_a_model_without_seeds_adds_no_seed_error():
    first, second = models(np.random.default_rng(0), 100, 3)
    fixed = Scores(second.items[:1], seed_noise=False)
    assert paired_difference(fixed, fixed).seed_error == 0
    assert paired_difference(first, fixed).seed_error > 0


def test_a_model_trained_once_borrows_the_spread_of_the_other():
    first, second = models(np.random.default_rng(0), 100, 3, seed_spread=0.3)
    once = Scores.of(second.items[:1])
    both = paired_difference(first, second)
    borrowed = paired_difference(first, once)
    assert borrowed.seed_error > both.seed_error * 0.8
    assert paired_difference(once, once).seed_error is None


def test_models_that_tell_of_each_others_seeds_need_a_smaller_difference() -> None:
    # Intervals cover as often, and those of three seeds are narrower on average.
    rng, held, widths = np.random.default_rng(5), [0, 0], [0.0, 0.0]
    for run in range(200):
        three = {
            str(n): Scores.of(np.repeat(rng.normal(0, 1, (3, 1)), 4, axis=1)) for n in range(3)
        }
        for place, models in enumerate((three, with_shared_seeds(three))):
            estimate = paired_difference(models["0"], models["1"], seed=run)
            held[place] += estimate.low <= 0 <= estimate.high
            widths[place] += estimate.high - estimate.low
    assert min(held) / 200 > 0.92
    assert widths[1] < 0.95 * widths[0]


def test_only_trained_models_with_several_seeds_tell_of_others() -> None:
    rng = np.random.default_rng(2)
    found = {
        "wide": Scores.of(np.repeat([[0.0], [3.0], [6.0]], 5, axis=1)),
        "narrow": Scores.of(np.repeat([[0.0], [1.0], [2.0]], 5, axis=1)),
        "closed form": Scores.of(np.ones((3, 5))),
        "once": Scores.of(rng.normal(0, 1, (1, 5))),
        "majority": Scores.of(np.ones((1, 5)), seed_noise=False),
    }
    shared = with_shared_seeds(found)
    spreads = {name: one.seed_spread for name, one in shared.items()}
    # Own variances are 9 and 1, their mean 5, which counts as four of six degrees of freedom.
    assert spreads["wide"] == pytest.approx(((4 * 5 + 2 * 9) / 6, 4))
    assert spreads["narrow"] == pytest.approx(((4 * 5 + 2 * 1) / 6, 4))
    assert spreads["once"] == pytest.approx((5, 4))
    assert spreads["closed form"] == (0, 2)
    assert spreads["majority"] == (0, 0)
    alone = {name: found[name] for name in ("wide", "once")}
    assert with_shared_seeds(alone) == alone


def test_mean_of_an_untrained_model_has_the_doubt_of_its_items():
    scores = Scores(np.array([[1.0] * 70 + [0.0] * 30]), seed_noise=False)
    estimate = mean_interval(scores)
    assert estimate.low == pytest.approx(0.61, abs=0.03)
    assert estimate.high == pytest.approx(0.79, abs=0.03)


def test_different_items_are_refused():
    with pytest.raises(ValueError, match="same items, got 3 and 2"):
        paired_difference(Scores.of([[1, 2, 3]]), Scores.of([[1, 2]]))


@pytest.mark.parametrize("rows", [[], [[]], [[1.0], [1.0, 2.0]], [[float("nan"), 1.0]]])
def test_scores_that_cannot_be_compared_are_refused(rows):
    with pytest.raises(ValueError):  # noqa: PT011 - numpy words some of these itself
        Scores.of(rows)


def test_ratio_of_a_model_to_itself_is_one():
    first, _ = models(np.random.default_rng(0), 100, 3, gap=3.0)
    estimate = ratio(first, first)
    assert estimate.value == 1
    assert estimate.low <= 1 <= estimate.high


def test_ratio_of_two_that_agree_on_few_items_is_not_certain():
    forty = Scores.of([[1.0] * 30 + [0.0] * 10])
    estimate = ratio(forty, forty)
    assert estimate.value == 1
    assert estimate.low < 0.99


def test_ratio_counts_from_the_floor():
    floor, half, whole = (
        Scores.of([[level] * 50 + [level + 0.1] * 50]) for level in (2.0, 1.5, 1.0)
    )
    assert ratio(half, whole, floor).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="zero quality"):
        ratio(half, floor, floor)


def test_t_interval_of_three_seeds_uses_two_degrees_of_freedom():
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert high - mean == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert low == pytest.approx(2 * mean - high)
    assert t_interval([5.0]) == (5.0, None, None)
    assert t_interval([1.0, 3.0]) == pytest.approx((2.0, 2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_paired_error_is_that_of_the_differences():
    gap, error = paired_error([1.0, 2.0, 4.0], [0.0, 1.0, 2.0])
    assert gap == pytest.approx(4 / 3)
    assert error == pytest.approx(np.std([1, 1, 2], ddof=1) / math.sqrt(3))
    assert math.isinf(paired_error([1.0], [0.0])[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values):
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert max(adjusted) <= 1
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order))


def estimate(value, low, high, **more):
    fields = {
        "p": 0.01,
        "items": 100,
        "seeds": 3,
        "item_error": (high - low) / 4,
        "seed_error": 0.0,
    }
    return significance.Estimate(value, low, high, **{**fields, **more})


@pytest.mark.parametrize(
    ("value", "low", "high", "higher", "word"),
    [
        (0.03, 0.015, 0.045, True, "better"),
        (0.03, 0.015, 0.045, False, "worse"),
        (-0.03, -0.045, -0.015, True, "worse"),
        (-0.03, -0.045, -0.015, False, "better"),
        (0.004, 0.001, 0.008, True, "equivalent"),
        (0.005, -0.02, 0.03, True, "within noise"),
        (0.008, 0.001, 0.015, True, "within noise"),
    ],
)
def test_outcome_words(value, low, high, higher, word):
    assert outcome(estimate(value, low, high), 0.01, higher) == word


@pytest.mark.parametrize(
    ("more", "lacks", "word"),
    [
        ({"items": 20, "seeds": 2}, None, "better"),
        ({"items": 20, "seeds": None}, None, "better"),
        ({"items": 19, "seeds": 3}, "items", "within noise"),
        ({"items": 100, "seeds": 1}, "seeds", "within noise"),
    ],
)
def test_nothing_is_claimed_from_few_items_or_one_seed(more, lacks, word):
    clear = estimate(0.5, 0.4, 0.6, **more)
    assert lacking(clear) == lacks
    assert outcome(clear, 0.01, higher_is_better=True, adjusted_p=0.001) == word
    tight = estimate(0.0, -0.001, 0.001, **more)
    assert outcome(tight, 0.01, True) == ("equivalent" if lacks is None else "within noise")


def test_settling_takes_at_least_the_fewest_items_and_more_than_one_seed():
    clear = estimate(0.5, 0.4, 0.6, items=5)
    assert items_to_settle(clear, 0.01) == significance.MIN_ITEMS - 5
    assert items_to_settle(estimate(0.5, 0.4, 0.6, seeds=1), 0.01) is None


def test_items_with_weight_0_are_left_out():
    counted = np.linspace(0.1, 1.0, 24)
    for weight in (1.0, np.arange(1.0, 25.0)):
        weights = np.concatenate([np.broadcast_to(weight, 24), np.zeros(16)])
        padded = [np.concatenate([counted + seed, np.zeros(16)]) for seed in (0.0, 0.01)]
        with_zeros = Scores.of(padded, weights=weights)
        without = Scores.of([row[:24] for row in padded], weights=weights[:24])
        np.testing.assert_allclose(with_zeros.items, without.items)
        assert mean_interval(with_zeros).items == mean_interval(without).items == 24


def test_a_difference_that_holm_takes_back_is_not_better():
    clear = estimate(0.03, 0.001, 0.059)
    assert outcome(clear, 0.01, True, adjusted_p=0.2) == "within noise"
    assert outcome(clear, 0.01, True, adjusted_p=0.04) == "better"


def test_items_to_settle_are_enough_when_the_difference_stays():
    rng = np.random.default_rng(5)
    alike = (np.tile(one.items, (2, 1)) for one in models(rng, 100, 1, gap=0.1, seed_spread=0.0))
    first, second = map(Scores.of, alike)
    now = paired_difference(first, second)
    more = items_to_settle(now, margin=0.02)
    assert outcome(now, 0.02, higher_is_better=True) == "within noise"
    assert more is not None
    times = math.ceil((100 + more) / 100) + 1
    later = (Scores.of(np.tile(one.items, times)) for one in (first, second))
    assert outcome(paired_difference(*later), 0.02, higher_is_better=now.value > 0) == "better"


def test_no_number_of_items_settles_what_seeds_hide():
    hidden = estimate(0.01, -0.05, 0.07, seed_error=0.03, seed_spread=0.08)
    assert items_to_settle(hidden, 0.01) is None
