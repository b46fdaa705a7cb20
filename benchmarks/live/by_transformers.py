"""``Trainer.hyperparameter_search`` with Optuna as a contender: TPE and the median pruner.

Knows the two things that it may train; knows nothing of the other contenders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

from benchmarks.live import plain, shared
from benchmarks.live.record import Diary, Mode
from benchmarks.live.shared import LikeTrainer, Shared
from sweeper.plans import Parameter
from sweeper.spec import Scalar

_STUDY = "live"
BATCHES = (4, 8, 16, 32, 64)


def search(mode: Mode, data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Search, train the best again, and score it."""
    options = {**new_study(), "sampler": TPESampler(seed=seed), "pruner": MedianPruner()}
    if mode == "like":
        _like(data, folder, trials, seed, diary, options)
    else:
        whole(data, folder, trials, seed, diary, options, _usual_space)


def new_study() -> dict[str, Any]:
    """Options with which transformers continues a study that was made before."""
    return {"study_name": _STUDY, "storage": InMemoryStorage(), "load_if_exists": True}


def _like(
    data: Path, folder: Path, trials: int, seed: int, diary: Diary, options: dict[str, Any]
) -> None:
    base = Shared(data, seed)
    study = optuna.create_study(direction="minimize", **options)
    study.enqueue_trial(base.start)

    def choose(trial: Any) -> dict[str, Scalar]:
        if trial is None:
            return base.start
        return {name: _suggested(trial, name, one) for name, one in base.space.items()}

    def saw(rung: int, loss: float, whole: bool) -> None:
        if whole:
            diary.saw(loss, str(len(study.trials) - 1))

    trainer = LikeTrainer(base, folder, choose, saw)
    best = _searched(trainer, choose, trials, options)
    diary.ended(_states(study))
    diary.won(shared.winner(base, folder, best.hyperparameters, best.run_id))


def whole(
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
    best = _searched(trainer, space, trials, options)
    diary.ended(_states(study))
    settings = {**best.hyperparameters, "seed": seed}
    diary.won(plain.winner(texts, folder, settings, best.run_id))


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


def _suggested(trial: optuna.Trial, name: str, one: Parameter) -> Scalar:
    if one.choices is not None:
        return cast(Scalar, trial.suggest_categorical(name, one.choices))
    assert one.low is not None
    assert one.high is not None
    if one.kind == "int":
        return trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
    return trial.suggest_float(name, one.low, one.high, log=one.log)


def _searched(trainer: Any, space: Any, trials: int, options: dict[str, Any]) -> Any:
    return trainer.hyperparameter_search(
        hp_space=space,
        compute_objective=lambda metrics: metrics["eval_loss"],
        n_trials=trials,
        direction="minimize",
        backend="optuna",
        **options,
    )


def _states(study: optuna.Study) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in study.trials))
