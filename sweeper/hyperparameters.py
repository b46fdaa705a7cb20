"""The few hyperparameters that code uses by name, and the meaning of their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeGuard

from sweeper.errors import near_match

Scalar = bool | int | float | str
EPOCHS = "num_train_epochs"
BATCH, TARGET_MODULES = "per_device_train_batch_size", "target_modules"
MODULES_TO_SAVE, NO_MODULES = "modules_to_save", "none"
OPTIMIZER, NEFTUNE = "optim", "neftune_noise_alpha"
PADDING_FREE, ATTENTION, SDPA = "padding_free", "attn_implementation", "sdpa"
# Those that a reader looks for first, in this order, and names for tables.
KEY_PARAMETERS = (
    "learning_rate",
    "r",
    "num_virtual_tokens",
    "reduction_factor",
    "head_learning_rate",
)
SHORT_NAMES: Mapping[str, str] = {
    "learning_rate": "lr",
    "head_learning_rate": "head lr",
    BATCH: "batch",
    EPOCHS: "epochs",
}

#: What other tools and people call them. New tokens need ``modules_to_save``, all embeddings.
_CALLED: Mapping[str, str] = {
    **dict.fromkeys(("rank", "lora_r", "lora_rank"), "r"),
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("batch", "batch_size", "train_batch_size"), BATCH),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs"), EPOCHS),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "lr_scheduler_type"),
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    "optimizer": OPTIMIZER,
    "warmup": "warmup_ratio",
    "lora_target_modules": TARGET_MODULES,
    "trainable_token_indices": MODULES_TO_SAVE,
}


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a parameter's value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def near_parameter(name: str, candidates: Collection[str]) -> str:
    """The known hyperparameter that a name most likely means, as a sentence.

    >>> near_parameter("rank", ["r", "lora_alpha"]), near_parameter("lora_alhpa", ["lora_alpha"])
    ("Did you mean 'r'?", "Did you mean 'lora_alpha'?")
    """
    called = _CALLED.get(name)
    return f"Did you mean {called!r}?" if called in candidates else near_match(name, candidates)


#: The choices of ``target_modules`` as PEFT names the layers.
TARGETS: Mapping[str, tuple[str, ...] | str] = {
    "qv": ("q_proj", "v_proj"),
    "qkvo": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "all-linear": "all-linear",
}


def modules_of(choice: str) -> tuple[str, ...] | str:
    """The layers that a choice of ``target_modules`` names: one of ``TARGETS``, names, a pattern.

    >>> modules_of("qv"), modules_of("key,value")
    (('q_proj', 'v_proj'), ('key', 'value'))
    """
    if is_pattern(choice):
        return choice
    return TARGETS.get(choice) or _names(choice)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def is_pattern(choice: str) -> bool:
    """Whether it is a regular expression over whole names, as PEFT takes one, and no list.

    >>> is_pattern(r".*\\.[qv]_proj"), is_pattern("self_attn.q_proj,v_proj")
    (True, False)
    """
    return re.fullmatch(r"[\w.\-]+(\s*,\s*[\w.\-]+)*", choice) is None


def saved_modules(parameters: Mapping[str, object]) -> tuple[str, ...]:
    """The modules of the base that train whole beside an adapter.

    >>> saved_modules({"modules_to_save": "embed_tokens,lm_head"}), saved_modules({})
    (('embed_tokens', 'lm_head'), ())
    """
    wanted = str(parameters.get(MODULES_TO_SAVE, NO_MODULES))
    return () if wanted == NO_MODULES else _names(wanted)


def split_batch(batch: int, largest_micro: int, gpus: int = 1) -> tuple[int, int]:
    """Micro-batch and accumulation steps whose product with ``gpus`` is the effective batch.

    >>> split_batch(12, 8)
    (6, 2)
    >>> split_batch(4, 8)
    (4, 1)
    """
    share = max(1, batch // gpus)
    micro = next(size for size in range(min(share, largest_micro), 0, -1) if share % size == 0)
    return micro, share // micro


PATIENCE = "early_stopping_patience"

CLASS_WEIGHT = "class_weight"
ClassWeight = Literal["none", "balanced-sqrt", "balanced"]
# A class's weight is its rows to the power of minus this: equal sums for all classes, or half of
# the way there.
CLASS_WEIGHT_POWERS: Mapping[ClassWeight, float] = {
    "none": 0.0,
    "balanced-sqrt": 0.5,
    "balanced": 1.0,
}
