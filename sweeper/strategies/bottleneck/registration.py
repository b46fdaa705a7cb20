"""Adds the bottleneck tuner to PEFT's tables of types; no other module changes them.

PEFT's ``PeftType`` enumeration is closed and ``register_peft_method`` accepts only its members.
Loading, saving and wrapping look types up in three dictionaries, though, and those are open.
"""

from __future__ import annotations

from peft import mapping
from peft.utils import PeftType

from sweeper.strategies.bottleneck.config import BottleneckConfig, BottleneckType
from sweeper.strategies.bottleneck.model import BottleneckModel


def register() -> None:
    """Registers bottleneck adapters for ``get_peft_model`` and ``PeftModel.from_pretrained``.

    May be called again.

    Raises:
        RuntimeError: Something else already has this name or prefix: a PEFT that brings its own
            bottleneck adapters must not be silently replaced.
    """
    key = BottleneckType.BOTTLENECK
    known = mapping.PEFT_TYPE_TO_TUNER_MAPPING.get(key)
    if known is BottleneckModel:
        return
    taken = key.value in PeftType.__members__ or known is not None
    if taken or BottleneckModel.prefix in mapping.PEFT_TYPE_TO_PREFIX_MAPPING.values():
        raise RuntimeError(
            f"PEFT already has a method called {key.value!r}, or one with the prefix"
            f" {BottleneckModel.prefix!r}: {known}."
        )
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING[key] = BottleneckConfig
    mapping.PEFT_TYPE_TO_TUNER_MAPPING[key] = BottleneckModel
    mapping.PEFT_TYPE_TO_PREFIX_MAPPING[key] = BottleneckModel.prefix
