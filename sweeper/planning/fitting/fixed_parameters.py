"""Parameters that the request fixes for every trial, and those that a sharded model cannot have."""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.hyperparameters import CLASS_WEIGHT, KL, PATIENCE, REPLAY
from sweeper.memory.setup import Setup
from sweeper.plan import Parameter
from sweeper.spec import TrainingSpec


def with_choices(
    parameters: Mapping[str, Parameter], training: TrainingSpec
) -> dict[str, Parameter]:
    """The parameters with the user's own values, which are not searched."""
    found = dict(parameters)
    wanted = {
        REPLAY: training.replay_share,
        KL: training.kl_weight,
        PATIENCE: training.early_stopping_patience,
        CLASS_WEIGHT: training.class_weight,
    }
    for name, value in wanted.items():
        old = found.get(name)
        if old is None or value is None:
            continue
        update: dict[str, object] = {"default": value, "searched": False, "prior": None}
        if old.choices is not None:
            allowed = dict.fromkeys((*(old.allowed_choices or ()), value))
            update |= {"choices": (value,), "allowed_choices": tuple(allowed)}
        else:
            update |= {"low": value, "high": value}
        update |= {"source": "the request", "why": "The value that was asked for."}
        found[name] = old.model_copy(update=update)
    return found


def without_shards(parameters: Mapping[str, Parameter], setup: Setup) -> dict[str, Parameter]:
    """The parameters without a KL penalty where the model is spread over several GPUs.

    There the base's own forward pass is not possible beside the model's.
    """
    if setup.gpus == 1:
        return dict(parameters)
    return {name: one for name, one in parameters.items() if name != KL}
