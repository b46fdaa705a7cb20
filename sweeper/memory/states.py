"""Permanent memory of a set-up: weights, gradients and optimizer states, in bytes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from sweeper.facts.models.linear_layers import (
    embedding_parameters,
    expert_parameters,
    linears,
    saved_parameters,
    targeted,
)
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.spec import Scalar
from sweeper.traits.traits import Formula

#: Bytes per quantised weight. NF4: 4 bits, and one float32 scale for 64 weights; with double
#: quantisation that scale has 8 bits, and 256 scales share one float32 (Dettmers et al., QLoRA,
#: section 3). LLM.int8: 8 bits; its float32 per row is negligible. GPTQ: 4 bits, and a float16
#: scale and a 4-bit zero point for 128 weights.
QUANTIZED_BYTES = {
    "nf4": 0.5 + 4 / 64,
    "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256),
    "int8": 1.0,
    "int4": 0.5 + 2.5 / 128,
}
#: bitsandbytes' 8-bit states: one byte and one float32 for 256 numbers.
_EIGHT_BIT_BYTES = 1 + 4 / 256


class OptimizerCost(NamedTuple):
    """Bytes that an optimizer needs in addition to weights and gradients.

    Args:
        states: Bytes of states per trained parameter.
        temporary: Bytes of temporaries of ``step`` on a GPU, per trained parameter.
        largest: Bytes of temporaries of ``step``, per element of the largest trained tensor.
        embeddings: Bytes of states per weight of trained embeddings in addition to ``states``,
            where they are kept in float32.
    """

    states: float
    temporary: float = 0.0
    largest: float = 0.0
    embeddings: float = 0.0


#: (Word in the optimizer's name, number of states per parameter). The first word that matches
#: counts.
_STATES = (
    ("lomo", 0), ("adafactor", 0), ("lion", 1), ("rmsprop", 1), ("adagrad", 1), ("muon", 1),
    ("momentum", 1), ("sgd", 0), ("ademamix", 3), ("adam", 2),
)  # fmt: skip
#: transformers' names of bitsandbytes' 8-bit optimizers: its Trainer keeps embeddings in 32 bits.
_TRAINER_8BIT_NAMES = frozenset({"adamwbnb8bit", "adamw8bit", "pagedadamw8bit"})
#: Methods that shrink states. Estimates ignore them and count the full states of the optimizer.
_PROJECTION_METHODS = ("galore", "apollo")


def knows_optimizer(name: str) -> bool:
    """Whether the size of an optimizer's states is known."""
    short_name = _normalised_name(name)
    listed = any(word in short_name for word, _ in _STATES)
    return listed and not any(word in short_name for word in _PROJECTION_METHODS)


def _normalised_name(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


@lru_cache(maxsize=256)
def optimizer_cost(name: str, trained_bytes: int) -> OptimizerCost:
    """The memory of an optimizer, named as in ``TrainingArguments.optim``.

    torch's AdamW computes the root of all second moments at once (``foreach``), which takes one
    more copy of the parameters. Its fused kernel and bitsandbytes' kernels work in place. Paged and
    offloaded states count as host memory. Adafactor's factored moments are negligible, but it
    squares a gradient and scales the result in float32 tensors, and first copies 16-bit weights and
    gradients to float32. An unknown optimizer counts as AdamW.
    """
    short_name = _normalised_name(name)
    states = next((count for word, count in _STATES if word in short_name), 2)
    wide_embeddings = short_name in _TRAINER_8BIT_NAMES
    if "paged" in short_name or "offload" in short_name:
        return OptimizerCost(0.0, embeddings=8.0 if wide_embeddings else 0.0)
    if "4bit" in short_name:
        return OptimizerCost(states * (0.5 + 4 / 128))
    if "8bit" in short_name:
        further_bytes = states * (4 - _EIGHT_BIT_BYTES) if wide_embeddings else 0.0
        return OptimizerCost(states * _EIGHT_BIT_BYTES, embeddings=further_bytes)
    if "adafactor" in short_name:
        return OptimizerCost(0.0, largest=8.0 if trained_bytes == 4 else 16.0)
    is_fused = any(word in short_name for word in ("fused", "apex", "hf", "32bit"))
    is_foreach = "adam" in short_name or not knows_optimizer(name)
    temporary = float(trained_bytes) if is_foreach and not is_fused else 0.0
    return OptimizerCost(float(states * trained_bytes), temporary)


def optimizer_states(model: ModelFacts, setup: Setup) -> float:
    """Bytes of an optimizer's states for all that a set-up trains."""
    cost = optimizer_cost(setup.optimizer, setup.trained_bytes)
    table = model.vocabulary_size * model.hidden_size if setup.traits.trains_base else 0
    return trainable_parameters(model, setup) * cost.states + table * cost.embeddings


def largest_trained(model: ModelFacts, setup: Setup) -> int:
    """Elements of the largest trained tensor; 0 if the base is frozen."""
    if not setup.traits.trains_base:
        return 0  # an adapter's tensors are small
    stacked_experts = 0
    if model.moe is not None and not setup.experts_are_linear:  # gate and up are one tensor
        halves = 2 if model.gated_mlp else 1
        expert = halves * model.hidden_size * model.moe.intermediate_size
        stacked_experts = model.moe.experts * expert
    return max(model.vocabulary_size * model.hidden_size, largest_linear(model), stacked_experts)


@lru_cache(maxsize=4096)
def trainable_parameters(model: ModelFacts, setup: Setup) -> int:
    """Number of trained parameters, the classification head included."""
    if setup.trainable is not None:
        return setup.trainable
    if setup.traits.trains_base:
        return model.parameters
    head = (model.hidden_size + 1) * setup.classes
    saved_count = saved_parameters(model, setup.modules_to_save, setup.classes > 0)
    return counted_parameters(setup.traits.trained, model, setup) + saved_count + head


def frozen_parameters(model: ModelFacts, setup: Setup) -> int:
    """Number of parameters that the strategy adds and does not train."""
    return counted_parameters(setup.traits.frozen, model, setup)


def projection_weights(model: ModelFacts, setup: Setup) -> int:
    """Weights of the frozen projections of all target layers; shared ones count in each layer."""
    if setup.traits.adds != "scaled-projections":
        return 0
    linears = targeted(model, setup.target_modules, setup.experts_are_linear)
    return setup.r * sum(linear.count * (linear.inputs + linear.outputs) for linear in linears)


def counted_parameters(formula: Formula, model: ModelFacts, setup: Setup) -> int:
    """The number of parameters that a strategy's formula gives for a model."""
    if not formula.terms:
        return 0
    experts = setup.experts_are_linear
    targets = targeted(model, setup.target_modules, experts)
    values: dict[str, Scalar | None] = {name: setup.value(name) for name in formula.parameters} | {
        "hidden_size": model.hidden_size,
        "layers": model.layers,
        "key_value_width": model.key_value_heads * model.head_dim,
        "vocabulary_size": model.vocabulary_size,
        "largest_inputs": max((linear.inputs for linear in targets), default=0),
        "largest_outputs": max((linear.outputs for linear in targets), default=0),
    }
    total = 0
    for term in formula.terms:
        if term.each in ("model", "layer"):
            total += term.value(values) * (model.layers if term.each == "layer" else 1)
            continue
        is_target = term.each == "target_layer"
        for linear in targets if is_target else targeted(model, term.each, experts):
            sizes = {"inputs": linear.inputs, "outputs": linear.outputs}
            total += linear.count * term.value(values | sizes)
    return total


def quantized_parameters(model: ModelFacts, setup: Setup) -> int:
    """Number of quantised weights: the blocks' linear layers, and experts if they are linear."""
    if setup.quantization is None:
        return 0
    block_weights = sum(linear.parameters for linear in linears(model))
    block_weights += expert_parameters(model) if setup.experts_are_linear else 0
    return min(block_weights, max(0, model.parameters - embedding_parameters(model)))


def base_weights(model: ModelFacts, setup: Setup) -> dict[str, float]:
    """Bytes of the base model's quantised and other weights, by readable name."""
    quantized = quantized_parameters(model, setup)
    unquantized = model.parameters - quantized
    if setup.quantization is None:
        return {"base weights": float(unquantized * setup.base_bytes)}
    return {
        f"base weights in {setup.quantization}": quantized * QUANTIZED_BYTES[setup.quantization],
        # PEFT's preparation casts these to float32, and with them the residual stream.
        "unquantised weights": float(unquantized * setup.residual_bytes),
    }


def largest_linear(model: ModelFacts) -> int:
    """Weights of the largest linear layer inside the blocks."""
    sizes = [linear.inputs * linear.outputs for linear in linears(model)]
    return max(sizes, default=0)


def layer_parameters(model: ModelFacts) -> int:
    """Weights of one block, on average, experts included."""
    block_weights = sum(linear.parameters for linear in linears(model)) + expert_parameters(model)
    return block_weights // max(1, model.layers)
