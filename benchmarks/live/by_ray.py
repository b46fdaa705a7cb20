"""Ray Tune with ASHA as a contender: random configurations, one at a time.

Knows the two things that it may train; knows nothing of the other contenders.
"""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.live import plain, shared
from benchmarks.live.record import Diary, Mode
from benchmarks.live.shared import LikeTrainer, Shared
from sweeper.plans import Parameter

# As in Ray's guide to tuning a text classifier: these epochs and this batch, and the span of the
# rates on its grid.
_EPOCHS, _BATCH, _RATES = 4, 16, (2e-5, 2e-2)
_LOSS, _WHOLE = "eval_loss", "whole"


def search(mode: Mode, data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Search, train the best again, and score it."""
    # Ray would run its workers behind everything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        if mode == "like":
            _like(data, folder, trials, seed, diary)
        else:
            _whole(data, folder, trials, seed, diary)
    finally:
        ray.shutdown()


def _like(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    base = _shared(data, seed)
    best = _tuned(
        partial(_like_trial, data, folder, seed, diary.path),
        {name: _domain(one) for name, one in base.space.items()},
        # Workers are kept between trials, as sweeper keeps its own.
        {"reuse_actors": True, "num_samples": trials},
        ASHAScheduler(time_attr="rung", max_t=base.plan.budget.rungs),
        BasicVariantGenerator(points_to_evaluate=[base.start], random_state=seed),
        folder,
        diary,
    )
    diary.won(shared.winner(base, folder, best.config, best.metrics["trial_id"]))


@cache
def _shared(data: Path, seed: int) -> Shared:
    """Once in each process."""
    return Shared(data, seed)


def _like_trial(data: Path, folder: Path, seed: int, diary: Path, config: dict[str, Any]) -> None:
    base, name = _shared(data, seed), tune.get_context().get_trial_id()

    def saw(rung: int, loss: float, whole: bool) -> None:
        if whole:
            Diary(diary).saw(loss, name)
        tune.report({_LOSS: loss, "rung": rung, _WHOLE: whole})

    LikeTrainer(base, folder, lambda _: config, saw).train()


def _whole(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    best = _tuned(
        partial(_whole_trial, data, folder, seed, diary.path),
        {"learning_rate": tune.loguniform(*_RATES)},
        {"num_samples": trials},
        ASHAScheduler(max_t=_EPOCHS),
        BasicVariantGenerator(random_state=seed),
        folder,
        diary,
    )
    texts, trial = plain.Texts(data), best.metrics["trial_id"]
    diary.won(plain.winner(texts, folder, _settings(best.config, seed), trial))


def _whole_trial(data: Path, folder: Path, seed: int, diary: Path, config: dict[str, Any]) -> None:
    name = tune.get_context().get_trial_id()

    def saw(loss: float) -> None:
        Diary(diary).saw(loss, name)
        tune.report({_LOSS: loss})

    plain.PlainTrainer(plain.Texts(data), folder, saw, **_settings(config, seed)).train()


def _settings(config: dict[str, Any], seed: int) -> dict[str, Any]:
    fixed = {"num_train_epochs": _EPOCHS, "per_device_train_batch_size": _BATCH}
    return {**config, **fixed, "weight_decay": 0.01, "seed": seed}


def _domain(one: Parameter) -> Any:
    if one.choices is not None:
        return tune.choice(list(one.choices))
    assert one.low is not None
    assert one.high is not None
    if one.kind == "int":  # Ray leaves the upper end out
        ends = int(one.low), int(one.high) + 1
        return tune.lograndint(*ends) if one.log else tune.randint(*ends)
    return tune.loguniform(one.low, one.high) if one.log else tune.uniform(one.low, one.high)


def _tuned(
    trial: Any,
    space: dict[str, Any],
    settings: dict[str, Any],
    scheduler: ASHAScheduler,
    random: BasicVariantGenerator,
    folder: Path,
    diary: Diary,
) -> Any:
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=_LOSS,
            mode="min",
            scheduler=scheduler,
            search_alg=random,
            max_concurrent_trials=1,
            **settings,
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    results = tuner.fit()
    found = [one for one in (results[k] for k in range(len(results))) if one.metrics]
    last = max(_metric(one, "training_iteration") for one in found)
    # Only these were scored on the whole validation split, or trained to their end.
    whole = [
        one
        for one in found
        if (one.metrics or {}).get(_WHOLE, _metric(one, "training_iteration") == last)
    ]
    ended = {"COMPLETE": len(whole), "PRUNED": len(found) - len(whole)}
    diary.ended(ended | {"FAIL": len(results) - len(found)})
    return min(whole, key=lambda one: _metric(one, _LOSS))


def _metric(result: tune.Result, name: str) -> float:
    """As last reported."""
    assert result.metrics is not None
    return float(result.metrics[name])
