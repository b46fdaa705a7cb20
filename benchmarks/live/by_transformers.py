"""``Trainer.hyperparameter_search`` with Optuna as a contender: TPE and the median pruner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

from benchmarks.live import plain
from benchmarks.live.record import Diary
from sweeper.spec import Scalar

BATCHES = (4, 8, 16, 32, 64)


def search(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Search, train the best again, and score it."""
    options = {**new_study(), "sampler": TPESampler(seed=seed), "pruner": MedianPruner()}
    search_space(data, folder, trials, seed, diary, options, _usual_space)


def new_study() -> dict[str, Any]:
    """Options with which transformers continues a study that was made before."""
    return {"study_name": "live", "storage": InMemoryStorage(), "load_if_exists": True}


def search_space(
    data: Path,
    folder: Path,
    trials: int,
    seed: int,
    diary: Diary,
    options: dict[str, Any],
    space: Callable[[optuna.Trial], dict[str, Scalar]],
) -> None:
    """Search full fine-tuning in a space, train the best again, and score it."""
    texts = plain.Texts(data)
    study = optuna.create_study(direction="minimize", **options)
    trainer = plain.PlainTrainer(
        texts, folder, lambda loss: diary.saw(loss, str(len(study.trials) - 1)), seed=seed
    )
    best: Any = trainer.hyperparameter_search(
        hp_space=space,
        compute_objective=lambda metrics: metrics["eval_loss"],
        n_trials=trials,
        direction="minimize",
        backend="optuna",
        **options,
    )
    diary.ended(dict(Counter(trial.state.name for trial in study.trials)))
    settings = {**best.hyperparameters, "seed": seed}
    diary.won(plain.trained_again(texts, folder, settings, best.run_id))


def _usual_space(trial: optuna.Trial) -> dict[str, Scalar]:
    """transformers' own default space, but for the seed, and with rates up to ten times higher,
    since small models with a new head want them."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True),
        "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 5),
        "per_device_train_batch_size": trial.suggest_categorical(
            "per_device_train_batch_size", BATCHES
        ),
    }
