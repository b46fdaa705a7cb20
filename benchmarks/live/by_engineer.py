"""An engineer as a contender: a guide's settings first, then one change at a time; no pruning."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.pruners import NopPruner

from benchmarks.live.by_transformers import BATCHES, new_study, search_space
from benchmarks.live.record import Diary
from benchmarks.search.engineer import Engineer
from sweeper.spec import Scalar

# What guides of encoders begin with: Trainer's default rate, three epochs, batches of 16.
_FIRST = {"learning_rate": 5e-5, "num_train_epochs": 3, "per_device_train_batch_size": 16}


def search(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Search, train the best again, and score it."""
    options = {**new_study(), "sampler": Engineer(seed), "pruner": NopPruner()}
    optuna.create_study(direction="minimize", **options).enqueue_trial(_FIRST)
    search_space(data, folder, trials, seed, diary, options, _space)


def _space(trial: optuna.Trial) -> dict[str, Scalar]:
    """The space of transformers' search. Epochs are choices, so that neighbours can be tried."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True),
        "num_train_epochs": trial.suggest_categorical("num_train_epochs", (1, 2, 3, 4, 5)),
        "per_device_train_batch_size": trial.suggest_categorical(
            "per_device_train_batch_size", BATCHES
        ),
    }
