"""A candidate's parameters, limited by the request and the device.

Values that the request fixes, parameters that a sharded model cannot have, and how far the search
may widen a range before memory or context runs out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.hyperparameters import CLASS_WEIGHT, KL, PATIENCE, REPLAY
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.fitting.fit import Fit
from sweeper.plans import Parameter
from sweeper.spec import TrainingSpec

# Numbers that memory grows with and that the search may widen.
GROWING = ("r", "num_virtual_tokens")


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
        update |= {"source": "the request", "why": "The requested value."}
        found[name] = old.model_copy(update=update)
    return found


def without_shards(parameters: Mapping[str, Parameter], setup: Setup) -> dict[str, Parameter]:
    """The parameters without a KL penalty where the model is spread over several GPUs.

    There the base's own forward pass is not possible beside the model's.
    """
    if setup.gpus == 1:
        return dict(parameters)
    return {name: one for name, one in parameters.items() if name != KL}


def within(parameters: Mapping[str, Parameter], name: str, most: float) -> dict[str, Parameter]:
    """The parameters with one of them held to at most ``most``, in both of its ranges."""
    old = parameters.get(name)
    if old is None or old.allowed_high is None or old.allowed_high <= most:
        return dict(parameters)
    high = min(old.high if old.high is not None else most, most)
    default = min(float(old.default), high)
    update: dict[str, Any] = {
        "allowed_high": most,
        "high": high,
        "default": round(default) if old.kind == "int" else default,
    }
    return {**parameters, name: old.model_copy(update=update)}


def widened_within(
    parameters: Mapping[str, Parameter], found: Fit, model: ModelFacts, hardware: HardwareFacts
) -> dict[str, Parameter]:
    """The parameters with their allowed ranges cut to what the device can hold.

    The best-practice range fits already; what lies beyond it is tried in halvings from the top.
    """
    held = dict(parameters)
    for name in GROWING:
        parameter = held.get(name)
        if parameter is None or parameter.high is None or parameter.allowed_high is None:
            continue
        most = parameter.allowed_high
        while most > parameter.high and not _fits(found, name, most, model, hardware):
            most = max(float(int(most) // 2), parameter.high)
        held = within(held, name, most)
    return held


def _fits(found: Fit, name: str, value: float, model: ModelFacts, hardware: HardwareFacts) -> bool:
    setup = replace(found.heaviest_setup, **{name: int(value)})  # type: ignore[arg-type]
    return estimate(model, setup, hardware.memory_gib).high_gib <= hardware.memory_gib
