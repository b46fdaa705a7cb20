"""No interval reaches where its figure cannot lie: under a loss of 0, past 100% or 100 points."""

import json

import pytest
from section_figures import figures_of

from sweeper.findings.compute import compute
from sweeper.findings.findings import Metric
from sweeper.findings.study.metric import difference_bounds, score_bounds
from sweeper.reporting.sections import cost, strategies
from sweeper.trials import TestSeal, TrialResult

LEVELS = (0.01, 0.02, 0.2)  # a seed's mean loss: three that are far apart near 0


def flawless(make, items):
    """Every trial right on all items, seeds with very different low losses."""
    shape = {"strategies": ("lora", "full"), "prune": False}
    run = make(trials=6, validation_items=items, test_items=items, **shape)
    seal = TestSeal.read(run.test_seal)
    scores = []
    for score in seal.scores:
        right = items * 2 // 9 if score.name == "majority" else items
        flags = tuple(float(i < right) for i in range(items))
        losses = tuple(LEVELS[score.seed or 0] * (1 + i % 3) / 2 for i in range(items))
        scores.append(score.model_copy(update={"item_scores": flags, "item_losses": losses}))
    seal.model_copy(update={"scores": tuple(scores)}).write(run.test_seal)
    for number in seal.order:
        for seed, level in enumerate(LEVELS):
            folder = run.seed(number, seed) if seed else run.trial(number)
            losses = [level * (1 + i % 3) / 2 for i in range(items)]
            kept = {"losses": losses, "scores": [1.0] * items, "weights": [1.0] * items}
            (folder / "item_losses.json").write_text(json.dumps(kept))
            result = TrialResult.read(folder / "result.json")
            result.model_copy(update={"validation_loss": level}).write(folder / "result.json")
    return run


@pytest.fixture
def few(make):
    return flawless(make, 9)


def test_a_loss_is_not_under_zero(few):
    found = compute(few)
    losses = [one.test_loss for one in found.tested] + [
        one.validation_loss for one in found.finalists
    ]
    gains = figures_of(few, cost).gains
    losses += [one for gain in gains for one in (gain.default, gain.best)]
    assert all(0 <= loss.low <= loss.value <= loss.high for loss in losses)
    assert any(loss.low == 0 for loss in losses)


def test_an_accuracy_and_a_difference_of_two_end_at_100(few):
    found = compute(few)
    assert all(0 <= model.score.low <= model.score.high <= 1 for model in found.tested)
    against = {c.second: c.difference for c in found.verdict.comparisons}
    assert against["majority"].value == pytest.approx(7 / 9)
    assert against["majority"].high == 1
    assert all(-1 <= difference.low <= difference.high <= 1 for difference in against.values())


def test_no_share_is_larger_than_that_of_a_model_without_a_mistake(make):
    found = figures_of(flawless(make, 27), strategies).quality_share
    assert found.split == "test"
    assert found.share.low < found.share.value == found.share.high == 1


def test_a_share_of_a_loss_ends_at_a_loss_of_zero(make):
    run = make(task="instruction", strategies=("lora", "full"), trials=8)
    found = compute(run)
    loss = {model.name: model.test_loss.value for model in found.tested}
    share = figures_of(run, strategies).quality_share
    zero, whole = loss["zero_shot"], loss[f"trial-{share.second_trial}"]
    assert share.share.value < share.share.high <= zero / (zero - whole)


@pytest.mark.parametrize(
    ("name", "unit", "score", "difference"),
    [
        ("accuracy", "points", (0, 1), (-1, 1)),
        ("loss", "nats/token", (0, float("inf")), (float("-inf"), float("inf"))),
        ("reward", "", (float("-inf"), float("inf")), (float("-inf"), float("inf"))),
    ],
)
def test_bounds_are_those_of_the_metric(name, unit, score, difference):
    metric = Metric(name=name, title=name, higher_is_better=True, unit=unit)
    assert score_bounds(metric) == score
    assert difference_bounds(metric) == difference
