"""What a set-up holds between steps: weights, gradients and optimizer states, in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.facts.record import ModelFacts
from sweeper.memory.linear_layers import (
    Linear,
    embedding_parameters,
    expert_parameters,
    linears,
    targeted,
)
from sweeper.memory.setup import Setup

#: Bytes a quantised weight takes: NF4 holds 4 bits and one float32 for 64 weights; double
#: quantisation holds that float in 8 bits with one float32 for 256 of them (Dettmers et al.,
#: QLoRA, section 3); LLM.int8 one float32 a row, which is nothing; GPTQ 4 bits, a float16 scale
#: and a 4-bit zero for 128 weights.
QUANTIZED_BYTES = {
    "nf4": 0.5 + 4 / 64,
    "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256),
    "int8": 1.0,
    "int4": 0.5 + 2.5 / 128,
}
#: bitsandbytes' 8-bit states: one byte and one float32 for 256 numbers.
_EIGHT_BIT = 1 + 4 / 256


@dataclass(frozen=True, slots=True)
class OptimizerCost:
    """Bytes for each trained parameter: states, and what ``step`` allocates besides."""

    states: float
    temporary: float


def optimizer_cost(name: str, trained_bytes: int) -> OptimizerCost:
    """What an optimizer of that name keeps, spelt as ``TrainingArguments.optim``.

    torch's AdamW takes the root of all second moments at once (``foreach``), one more copy of
    the parameters; the fused kernel and bitsandbytes' work in place. Paged states live in the
    host's memory as far as PyTorch's counters can tell. Adafactor's factored moments are rows
    and columns, which is nothing.
    """
    name = re.sub(r"[-_ ]", "", name.lower())
    if "paged" in name or "lomo" in name:
        return OptimizerCost(0.0, 0.0)
    lion = "lion" in name
    if "4bit" in name:
        return OptimizerCost(1.0 + 8 / 128, 0.0)
    if "8bit" in name:
        return OptimizerCost((1 if lion else 2) * _EIGHT_BIT, 0.0)
    if "adafactor" in name:
        return OptimizerCost(0.0, 0.0)
    if "sgd" in name or "muon" in name:
        momentum = "momentum" in name or "muon" in name
        return OptimizerCost(float(trained_bytes) if momentum else 0.0, 0.0)
    if lion:
        return OptimizerCost(float(trained_bytes), 0.0)
    fused = any(word in name for word in ("fused", "apex", "hf", "32bit"))
    return OptimizerCost(2.0 * trained_bytes, 0.0 if fused else float(trained_bytes))


def _low_rank_parameters(model: ModelFacts, setup: Setup) -> int:
    total = 0
    for linear in targeted(model, setup.target_modules, setup.experts_are_linear):
        total += linear.count * setup.r * (linear.inputs + linear.outputs)
        total += linear.count * linear.outputs if setup.use_dora else 0
    return total


def _prompt_parameters(model: ModelFacts, setup: Setup) -> int:
    """Of the encoder that makes the prompt, which is trained, not of its output."""
    tokens, hidden = setup.num_virtual_tokens, model.hidden_size
    if setup.strategy == "ptuning":  # embedding, then an MLP of three layers with biases
        inner = setup.encoder_hidden_size or hidden
        return (
            tokens * hidden + hidden * inner + inner * inner + inner * hidden + 2 * inner + hidden
        )
    each = model.key_value_heads * model.head_dim
    width = 2 * model.layers * each
    if not setup.prefix_projection:
        return tokens * width
    inner = setup.encoder_hidden_size or each
    return tokens * each + each * inner + inner + inner * width + width


def _bottleneck_parameters(model: ModelFacts, setup: Setup) -> int:
    places = 2 if setup.adapter_placement == "both" else 1
    width = max(1, model.hidden_size // setup.reduction_factor)
    return model.layers * places * (2 * model.hidden_size * width + width + model.hidden_size)


def trainable_parameters(model: ModelFacts, setup: Setup) -> int:
    """How many parameters a set-up trains, the classification head included."""
    head = (model.hidden_size + 1) * setup.classes
    if setup.trainable is not None:
        return setup.trainable
    if setup.strategy == "full":
        return model.parameters
    if setup.strategy in ("lora", "qlora"):
        return _low_rank_parameters(model, setup) + head
    if setup.strategy in ("prefix", "ptuning"):
        return _prompt_parameters(model, setup) + head
    if setup.strategy == "adapter":
        return _bottleneck_parameters(model, setup) + head
    return head


def quantized_parameters(model: ModelFacts, setup: Setup) -> int:
    """Weights that quantisation reaches: the blocks' linear layers, and experts if it does."""
    if setup.quantization is None:
        return 0
    inside = sum(linear.parameters for linear in linears(model))
    inside += expert_parameters(model) if setup.experts_are_linear else 0
    return min(inside, max(0, model.parameters - embedding_parameters(model)))


def base_weights(model: ModelFacts, setup: Setup) -> dict[str, float]:
    """Bytes of the base model's weights, quantised and not, by readable name."""
    quantized = quantized_parameters(model, setup)
    rest = model.parameters - quantized
    if setup.quantization is None:
        return {"base weights": float(rest * setup.base_bytes)}
    # float32 norms bring the embedding and the head with them
    width = setup.residual_bytes
    return {
        f"base weights in {setup.quantization}": quantized * QUANTIZED_BYTES[setup.quantization],
        "unquantised weights": float(rest * width),
    }


def largest_linear(model: ModelFacts) -> int:
    """Weights of the largest linear layer inside the blocks."""
    sizes = [linear.inputs * linear.outputs for linear in linears(model)]
    return max(sizes, default=0)


def layer_parameters(model: ModelFacts) -> int:
    """Weights of one block, on average, experts included."""
    inside = sum(linear.parameters for linear in linears(model)) + expert_parameters(model)
    return inside // max(1, model.layers)


__all__ = [
    "QUANTIZED_BYTES", "Linear", "OptimizerCost", "base_weights", "largest_linear",
    "layer_parameters", "optimizer_cost", "quantized_parameters", "trainable_parameters",
]  # fmt: skip
