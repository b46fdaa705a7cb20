"""Parameters that the user may fix for every trial, and what guards against forgetting cost.

How they work is training's business.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweeper.data.general import HELD_BACK
from sweeper.hyperparameters import CLASS_WEIGHT, KL, PATIENCE, REPLAY
from sweeper.memory.setup import Setup
from sweeper.plan import Parameter
from sweeper.spec import Spec, TrainingSpec

# As training has them: tokens of a held-back text, and texts scored at a rung below the last.
HELD_BACK_TOKENS, RUNG_TEXTS = 128, 8


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


def watched_tokens(spec: Spec, cap: int) -> tuple[int, int]:
    """Tokens of general text that a trial is scored on: at each look at it, and at its end."""
    limited = spec.aim.max_forgetting_points is not None
    head = spec.task == "classification" and spec.training.classes_by == "head"
    if head or (not limited and spec.data.general is None):
        return 0, 0
    text = min(cap, HELD_BACK_TOKENS)
    return (RUNG_TEXTS * text if limited else 0), HELD_BACK * text


def general_tokens(spec: Spec, cap: int, looks: int) -> int:
    """The same for a whole trial that is looked at so often, its last rung included."""
    at_look, at_end = watched_tokens(spec, cap)
    return looks * at_look + at_end
