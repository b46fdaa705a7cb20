"""Ray Tune with ASHA as a contender: random configurations, one at a time."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.live import plain
from benchmarks.live.record import Diary

# As in Ray's guide to tuning a text classifier: these epochs and this batch, and the span of the
# rates on its grid.
_EPOCHS, _BATCH, _RATES = 4, 16, (2e-5, 2e-2)
_LOSS = "eval_loss"


def search(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Search, train the best again, and score it."""
    # Ray would run its workers behind everything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        results = _tuned(data, folder, trials, seed, diary.path)
        ended = [one for one in (results[k] for k in range(len(results))) if one.metrics]
        whole = [one for one in ended if _metric(one, "training_iteration") == _EPOCHS]
        states = {"COMPLETE": len(whole), "PRUNED": len(ended) - len(whole)}
        diary.ended(states | {"FAIL": len(results) - len(ended)})
        best: Any = min(whole, key=lambda one: _metric(one, _LOSS))
        settings, trial = _settings(best.config, seed), best.metrics["trial_id"]
        diary.won(plain.trained_again(plain.Texts(data), folder, settings, trial))
    finally:
        ray.shutdown()


def _tuned(data: Path, folder: Path, trials: int, seed: int, diary: Path) -> tune.ResultGrid:
    trial = partial(_trial, data, folder, seed, diary)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"learning_rate": tune.loguniform(*_RATES)},
        tune_config=tune.TuneConfig(
            metric=_LOSS,
            mode="min",
            scheduler=ASHAScheduler(max_t=_EPOCHS),
            search_alg=BasicVariantGenerator(random_state=seed),
            max_concurrent_trials=1,
            num_samples=trials,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    return tuner.fit()


def _trial(data: Path, folder: Path, seed: int, diary: Path, config: dict[str, Any]) -> None:
    name = tune.get_context().get_trial_id()

    def saw(loss: float) -> None:
        Diary(diary).saw(loss, name)
        tune.report({_LOSS: loss})

    plain.PlainTrainer(plain.Texts(data), folder, saw, **_settings(config, seed)).train()


def _settings(config: dict[str, Any], seed: int) -> dict[str, Any]:
    fixed = {"num_train_epochs": _EPOCHS, "per_device_train_batch_size": _BATCH}
    return {**config, **fixed, "weight_decay": 0.01, "seed": seed}


def _metric(result: tune.Result, name: str) -> float:
    """As last reported."""
    assert result.metrics is not None
    return float(result.metrics[name])
