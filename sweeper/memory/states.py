"""What a set-up holds between steps: weights, gradients and optimizer states, in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.declared.formula import Formula
from sweeper.facts.record import ModelFacts
from sweeper.memory.linear_layers import (
    embedding_parameters,
    expert_parameters,
    linears,
    targeted,
)
from sweeper.memory.setup import Setup
from sweeper.spec import Scalar

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


def trainable_parameters(model: ModelFacts, setup: Setup) -> int:
    """How many parameters a set-up trains, the classification head included."""
    if setup.trainable is not None:
        return setup.trainable
    if setup.traits.trains_base:
        return model.parameters
    head = (model.hidden_size + 1) * setup.classes
    return counted_parameters(setup.traits.trained, model, setup) + head


def frozen_parameters(model: ModelFacts, setup: Setup) -> int:
    """How many parameters the strategy adds and does not train."""
    return counted_parameters(setup.traits.frozen, model, setup)


def projection_weights(model: ModelFacts, setup: Setup) -> int:
    """Weights of the frozen projections that each target layer computes with, shared or not."""
    if setup.traits.adds != "scaled-projections":
        return 0
    found = targeted(model, setup.target_modules, setup.experts_are_linear)
    return setup.r * sum(one.count * (one.inputs + one.outputs) for one in found)


def counted_parameters(formula: Formula, model: ModelFacts, setup: Setup) -> int:
    """The number of parameters that a strategy's formula gives for a model."""
    if not formula.terms:
        return 0
    targets = targeted(model, setup.target_modules, setup.experts_are_linear)
    values: dict[str, Scalar | None] = {
        name: setup.value(name) for name in formula.parameters()
    } | {
        "hidden_size": model.hidden_size,
        "layers": model.layers,
        "key_value_width": model.key_value_heads * model.head_dim,
        "vocabulary_size": model.vocabulary_size,
        "largest_inputs": max((linear.inputs for linear in targets), default=0),
        "largest_outputs": max((linear.outputs for linear in targets), default=0),
    }
    total = 0
    for term in formula.terms:
        if term.each == "model":
            total += formula.product(term, values)
        elif term.each == "layer":
            total += model.layers * formula.product(term, values)
        else:
            chosen = targets
            if term.each != "target_layer":
                chosen = targeted(model, term.each, setup.experts_are_linear)
            total += sum(
                linear.count
                * formula.product(
                    term, {**values, "inputs": linear.inputs, "outputs": linear.outputs}
                )
                for linear in chosen
            )
    return total


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
    "QUANTIZED_BYTES", "OptimizerCost", "base_weights", "counted_parameters",
    "frozen_parameters", "largest_linear", "layer_parameters", "optimizer_cost",
    "projection_weights", "quantized_parameters", "trainable_parameters",
]  # fmt: skip
