"""QLoRA: LoRA on a base quantised to 4 bits (arXiv:2305.14314).

The base is loaded quantised and stays so from trial to trial; training and saving are LoRA's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from sweeper.errors import UsageError
from sweeper.plans import Precision, frozen_dtype
from sweeper.strategies.lora import LoRA
from sweeper.strategies.strategy import Parameters, Setting


class QLoRA(LoRA):
    """Low-rank adaptation of a base in NF4 with double quantisation; parameters as for LoRA.

    Linear layers of the blocks are quantised. Embeddings, norms, the output layer and (as it is
    added later) a classification head stay in 16 bits.
    """

    name = "qlora"
    for_usual_classes: ClassVar[bool] = False  # usual classes load the base unquantised

    def quantization_config(
        self, parameters: Parameters, *, dtype: torch.dtype = torch.bfloat16
    ) -> Any:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            # In 16 bits also in fp32 trials: with SmolLM2-135M on a CPU with bf16 instructions, a
            # step took 4.3 s with products in float32 and 2.8 s in bfloat16.
            bnb_4bit_compute_dtype=dtype,
        )

    def base_dtype(self, precision: Precision) -> torch.dtype:
        # In 16 bits also in fp32 trials: bitsandbytes would cast biases to its compute dtype.
        half_dtype: torch.dtype = getattr(torch, frozen_dtype(precision))
        return half_dtype

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        if self.changes_base(parameters):
            raise UsageError(
                f"init_lora_weights = {parameters['init_lora_weights']!r}",
                "It changes the base's weights, which are quantised.",
                "Use init_lora_weights: default with QLoRA.",
            )
        return super().apply(model, parameters, setting)
