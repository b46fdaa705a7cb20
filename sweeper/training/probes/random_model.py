"""A model of a set-up with random weights of the real shapes, ready to train on a real device.

Takes the memory and the time of the trained one without anything to download. Knows no data.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import nn
from transformers import PretrainedConfig

from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.strategies.qlora import keep_trainable
from sweeper.strategies.targets import linear_layers
from sweeper.training.base_model.keeper import checkpoint
from sweeper.training.dryrun.models import base_of, dressed

FOUR_BITS = ("nf4", "nf4-dq")
# As transformers initialises most language models, so that no activation overflows.
_SPREAD = 0.02


def random_model(
    config: PretrainedConfig, model: ModelFacts, setup: Setup, device: torch.device
) -> nn.Module:
    """What a trial of this set-up trains, with random weights, checkpointing switched on if asked.

    Raises:
        ModelError: The architecture cannot recompute activations, and the set-up wants it.
    """
    base = base_of(config, setup)
    if setup.quantization in FOUR_BITS:
        _quantised(base, device, twice=setup.quantization == "nf4-dq")
    else:
        _filled(base, device)
    trained = dressed(base, config, model, setup, device)
    checkpoint(base, setup.gradient_checkpointing)
    return trained


def _filled(base: Any, device: torch.device) -> None:
    """Random weights; buffers of zeros, so that indices stay in range."""
    base.to_empty(device=device)
    base.tie_weights()
    with torch.no_grad():
        for weight in base.parameters():
            weight.normal_(0.0, _SPREAD)
        for buffer in base.buffers():
            buffer.zero_()


def _quantised(base: nn.Module, device: torch.device, *, twice: bool) -> None:
    """The blocks' linear layers in four bits, made one by one as loading makes them."""
    packed = {}
    for name, layer in linear_layers(base).items():
        if isinstance(layer, nn.Linear):
            packed[name] = _four_bits(layer, device, twice)
            _put(base, name, nn.Identity())
    _filled(base, device)
    for name, four in packed.items():
        _put(base, name, four)
    keep_trainable(base)
    vars(base)["is_loaded_in_4bit"] = True  # PEFT asks for it


def _four_bits(layer: nn.Linear, device: torch.device, twice: bool) -> Linear4bit:
    inputs, outputs = layer.in_features, layer.out_features
    four = Linear4bit(
        inputs,
        outputs,
        bias=layer.bias is not None,
        compute_dtype=torch.bfloat16,
        device="meta",
    )
    values = torch.randn(outputs, inputs, dtype=torch.bfloat16, device=device) * _SPREAD
    weight = Params4bit(
        values, requires_grad=False, compress_statistics=twice, quant_type="nf4", module=four
    )
    four.weight = weight.to(device)
    if layer.bias is not None:
        zeros = torch.zeros(outputs, dtype=torch.bfloat16, device=device)
        four.bias = nn.Parameter(zeros, requires_grad=False)
    return four


def _put(base: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(base.get_submodule(parent), last, layer)
