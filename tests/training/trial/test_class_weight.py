"""Uneven classes, trained for: rare ones are found more often, by every kind of strategy."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from sweeper.data.examples import Example, digest
from sweeper.training.trial.train import train_trial

LABELS = ("common", "rare")
WAYS = ("none", "balanced")


def _texts(count: int, seed: int) -> tuple[Example, ...]:
    """One text in ten is of the rare class; of those that look like it, a third are."""
    chance = random.Random(seed)
    rows = []
    for line in range(count):
        rare = line % 10 == 0
        words = [chance.choice(("the", "old", "iron", "zinc")) for _ in range(4)]
        if rare or line % 10 in (1, 2):
            words[chance.randrange(4)] = "nile"
        text = " ".join(words)
        key = digest(f"{seed} {line} {text}")
        rows.append(Example(key=key, line=line + 1, text=text, label=LABELS[rare]))
    return tuple(sorted(rows, key=lambda row: row.key))


@pytest.fixture(scope="module")
def uneven(topics):
    splits = {"train": _texts(200, 1), "validation": _texts(200, 2), "test": _texts(20, 3)}
    return replace(topics, splits=splits, labels=LABELS)


def _recall(job, result) -> float:
    """Share of the rare validation texts that were found, from what the trial left behind."""
    kept = json.loads((job.folder / "item_losses.json").read_text())
    # What is reported counts every text alike.
    assert result.validation_loss == pytest.approx(np.mean(kept["losses"]))
    rare = {e.key for e in job.context.items("validation").examples if e.label == "rare"}
    found = [s for key, s in zip(kept["keys"], kept["scores"], strict=True) if key in rare]
    return sum(found) / len(found)


@pytest.mark.parametrize("strategy", ["lora", "full", "head"])
def test_minority_recall_rises_with_the_weight_of_the_minority(
    make_shared, make_job, uneven, strategy
):
    shared = make_shared(dataset=uneven)
    recalls = []
    for way in WAYS:
        parameters = {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": "qkvo",
            "learning_rate": 1e-4 if strategy == "full" else 2e-3,
            "head_learning_rate": 3e-2,
            "class_weight": way,
        }
        job = make_job(shared, strategy=strategy, parameters=parameters)
        result = train_trial(job)
        assert result.state == "COMPLETE"
        recalls.append(_recall(job, result))
    assert recalls[0] < 0.2
    assert recalls[-1] >= 0.4


def test_the_reported_train_loss_is_without_weights(make_shared, make_job, answering, uneven):
    shared = make_shared(dataset=uneven)
    first = {}
    for way in ("none", "balanced"):
        told = answering()
        # So slow that nothing is learnt: both see the same model.
        parameters = {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "class_weight": way}
        job = make_job(shared, told, strategy="full", parameters=parameters)
        train_trial(job)
        first[way] = told[0].train_loss
    assert first["balanced"] == pytest.approx(first["none"], rel=1e-5)


def test_a_head_starts_from_a_probe_of_its_own_weights(make_shared, uneven):
    shared = make_shared(dataset=uneven)
    plain, weighted = (
        shared.frozen_features.probe_for({"class_weight": way}) for way in ("none", "balanced")
    )
    assert shared.frozen_features.probe is plain.probe
    assert weighted.probe is shared.frozen_features.probe_for({"class_weight": "balanced"}).probe
    features = shared.frozen_features.pooled("validation")
    said = [np.exp(one.probe.log_probabilities(features))[:, 1] for one in (plain, weighted)]
    assert said[0].mean() == pytest.approx(0.1, abs=0.03)
    assert said[1].mean() > 2 * said[0].mean()
    assert weighted.peak_gib >= plain.peak_gib
