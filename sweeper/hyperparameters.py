"""Hyperparameters that code uses by name, and the meaning of their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeGuard

from sweeper.errors import near_match

Scalar = bool | int | float | str
# Names of parameters, and the values of some of them that code compares with.
EPOCHS = "num_train_epochs"
BATCH, TARGET_MODULES = "per_device_train_batch_size", "target_modules"
MODULES_TO_SAVE, NO_MODULES = "modules_to_save", "none"
OPTIMIZER, NEFTUNE = "optim", "neftune_noise_alpha"
PADDING_FREE, ATTENTION, SDPA = "padding_free", "attn_implementation", "sdpa"
# The most important parameters, in the order of table columns, and short names for tables.
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

#: Maps names that users may give by mistake to the names of parameters.
_OTHER_NAMES: Mapping[str, str] = {
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
    "trainable_token_indices": MODULES_TO_SAVE,  # new tokens are trained with all embeddings
}


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a parameter's value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def near_parameter(name: str, candidates: Collection[str]) -> str:
    """A sentence that suggests the candidate with this meaning or a similar name.

    >>> near_parameter("rank", ["r", "lora_alpha"]), near_parameter("lora_alhpa", ["lora_alpha"])
    ("Did you mean 'r'?", "Did you mean 'lora_alpha'?")
    """
    known_name = _OTHER_NAMES.get(name)
    return (
        f"Did you mean {known_name!r}?"
        if known_name in candidates
        else near_match(name, candidates)
    )


#: Maps choices of ``target_modules`` to names of layers in PEFT.
TARGETS: Mapping[str, tuple[str, ...] | str] = {
    "qv": ("q_proj", "v_proj"),
    "qkvo": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "all-linear": "all-linear",
}


def modules_of(choice: str) -> tuple[str, ...] | str:
    """The layers of a choice of ``target_modules``: a key of ``TARGETS``, names, or a pattern.

    >>> modules_of("qv"), modules_of("key,value")
    (('q_proj', 'v_proj'), ('key', 'value'))
    """
    if is_pattern(choice):
        return choice
    return TARGETS.get(choice) or _names(choice)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def is_pattern(choice: str) -> bool:
    """Whether a choice is a regular expression for whole names, as in PEFT, instead of a list.

    >>> is_pattern(r".*\\.[qv]_proj"), is_pattern("self_attn.q_proj,v_proj")
    (True, False)
    """
    return re.fullmatch(r"[\w.\-]+(\s*,\s*[\w.\-]+)*", choice) is None


def saved_modules(parameters: Mapping[str, object]) -> tuple[str, ...]:
    """The modules of the base that are trained in full, besides an adapter.

    >>> saved_modules({"modules_to_save": "embed_tokens,lm_head"}), saved_modules({})
    (('embed_tokens', 'lm_head'), ())
    """
    names = str(parameters.get(MODULES_TO_SAVE, NO_MODULES))
    return () if names == NO_MODULES else _names(names)


def split_batch(batch: int, largest_micro: int, gpus: int = 1) -> tuple[int, int]:
    """The micro-batch and the accumulation steps that make a batch on some GPUs.

    Micro-batch x steps x ``gpus`` is ``batch``, or near it if ``gpus`` does not divide it.

    >>> split_batch(12, 8)
    (6, 2)
    >>> split_batch(4, 8)
    (4, 1)
    """
    gpu_batch = max(1, batch // gpus)
    sizes = range(min(gpu_batch, largest_micro), 0, -1)
    micro = next(size for size in sizes if gpu_batch % size == 0)
    return micro, gpu_batch // micro


PATIENCE = "early_stopping_patience"

CLASS_WEIGHT = "class_weight"
ClassWeight = Literal["none", "balanced-sqrt", "balanced"]
# A class's weight is its number of rows to the power of minus this value. With 1, all classes have
# the same total weight.
CLASS_WEIGHT_POWERS: Mapping[ClassWeight, float] = {
    "none": 0.0,
    "balanced-sqrt": 0.5,
    "balanced": 1.0,
}
