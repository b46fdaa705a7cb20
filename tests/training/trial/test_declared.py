"""What the user declares of a training takes effect in it, and is gone from the base afterwards."""

from __future__ import annotations

import json

import pytest
from transformers.integrations import neftune
from transformers.optimization import Adafactor

from sweeper.training.loop.trainer import TrialTrainer
from sweeper.training.trial.train import train_trial

DECLARED = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": "query,attention.output.dense",
    "modules_to_save": "word_embeddings",
    "learning_rate": 5e-3,
    "head_learning_rate": 1e-2,
    "neftune_noise_alpha": 5.0,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 3,
    "max_grad_norm": 0.3,
}


@pytest.fixture
def trainers(monkeypatch):
    """Every Trainer that was used."""
    used = []
    train = TrialTrainer.train

    def kept(self, **options):
        used.append(self)
        return train(self, **options)

    monkeypatch.setattr(TrialTrainer, "train", kept)
    return used


def test_what_is_declared_is_what_is_trained(make_shared, make_job, trainers, monkeypatch):
    noisy = []
    hook = neftune.neftune_post_forward_hook

    def heard(module, inputs, output):
        changed = hook(module, inputs, output)
        noisy.append((module.training, bool((changed != output).any())))
        return changed

    monkeypatch.setattr(neftune, "neftune_post_forward_hook", heard)
    shared = make_shared()
    settings = {"parameters": DECLARED, "optimizer": "adafactor", "precision": "bf16-mixed"}
    settings |= {"keep_weights": True, "budget": {"epochs": 1, "rungs": 2}}
    results = []
    for _ in range(2):
        job = make_job(shared, **settings)
        results.append(train_trial(job))
    trainer = trainers[0]
    assert isinstance(trainer.optimizer.optimizer, Adafactor)
    assert trainer.args.lr_scheduler_type == "cosine"
    assert trainer.args.warmup_steps == 3
    assert trainer.args.max_grad_norm == 0.3
    # noise in every training step and in no evaluation
    assert set(noisy) == {(True, True), (False, False)}
    config = json.loads((job.folder / "weights" / "adapter" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["word_embeddings"]
    assert sorted(config["target_modules"]) == ["attention.output.dense", "query"]
    # the second trial began from the same base
    assert [result.state for result in results] == ["COMPLETE", "COMPLETE"]
    assert results[0].validation_loss == results[1].validation_loss
    base = shared.context.base()
    assert not hasattr(base.get_input_embeddings(), "neftune_noise_alpha")
    assert not base.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("optimizer", ["sgd", "adamw_8bit", "lion_32bit"])
def test_other_optimizers_train_every_weight(make_shared, make_job, trainers, optimizer):
    job = make_job(strategy="full", optimizer=optimizer, budget={"epochs": 0.2, "rungs": 1})
    result = train_trial(job)
    assert result.state == "COMPLETE"
    name = optimizer.partition("_")[0]
    assert type(trainers[0].optimizer.optimizer).__name__.lower().startswith(name)
