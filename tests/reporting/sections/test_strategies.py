"""One strategy's share of another's quality."""

import json

import numpy as np
import pytest
from section_figures import figures_of

from sweeper.findings.compute import compute
from sweeper.reporting.sections import strategies
from sweeper.trials import BaselineResult


def share_of(run):
    return figures_of(run, strategies).quality_share


def test_share_of_fulls_quality_has_an_interval_and_its_split(make):
    share = share_of(make(trials=20))
    assert share.split == "test"
    assert share.share.low < share.share.value < share.share.high
    validation = share_of(make(name="b", trials=9, seal=False))
    assert validation.split == "validation"


@pytest.mark.parametrize("shape", [{"seeds": 1}, {"test_items": 19}])
def test_no_share_is_stated_from_few_items_or_one_seed(make, shape):
    assert share_of(make(trials=20, **shape)) is None


def test_no_share_of_a_loss_without_the_untrained_models_loss(make):
    shape = {"task": "instruction", "strategies": ("lora", "full"), "trials": 8}
    assert share_of(make(**shape)).split == "test"
    assert share_of(make(name="b", baselines=False, **shape)) is None


def test_before_the_test_split_a_share_of_a_loss_is_taken_on_validation(make):
    run = make(task="instruction", strategies=("lora", "full"), trials=8, seal=False, seeds=2)
    assert share_of(run) is None
    best = {one.strategy: one for one in compute(run).strategies}
    losses = {}
    for key, one in best.items():
        folders = (run.trial(one.best_trial), run.seed(one.best_trial, 1))
        kept = [json.loads((folder / "item_losses.json").read_text()) for folder in folders]
        losses[key] = np.mean([each["losses"] for each in kept], axis=0)
    untrained = [max(pair) + 0.5 for pair in zip(*losses.values(), strict=True)]
    path = run.baselines / "zero_shot.json"
    known = BaselineResult.read(path)
    known.model_copy(update={"item_losses": tuple(untrained)}).write(path)
    share = share_of(run)
    gained = {key: np.mean(untrained) - np.mean(found) for key, found in losses.items()}
    assert share.split == "validation"
    assert share.share.value == pytest.approx(gained["lora"] / gained["full"])
    assert compute(run).baselines[0].item_losses == ()
