"""The work of a training step: floating-point operations and bytes moved, from shapes alone."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

from sweeper.facts.models.linear_layers import expert_parameters, linears, targeted
from sweeper.facts.record import ModelFacts
from sweeper.memory.layers import layer_costs
from sweeper.memory.setup import Setup
from sweeper.memory.states import (
    base_weights,
    optimizer_states,
    projection_weights,
    quantized_parameters,
    trainable_parameters,
)
from sweeper.plans import autocast_dtype
from sweeper.traits.traits import TARGETED

# Additional memory traffic of unpacking 4-bit weights, as a share: its kernels are slower. Fitted
# with the speed of GPUs to the longer times of six pairs of litgpt's runs with 4-bit weights (3B
# and 7B, A100 40GB).
_UNPACKING_OVERHEAD = 0.7


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of a device in one pass or step.

    Args:
        flops: Floating-point operations of matrix products.
        bytes: Bytes that forward and backward passes move between memory and arithmetic units.
        layers: Number of passes through single layers.
        streamed: Bytes that the optimizer moves, tensor by tensor.
        adapters: Number of passes through adapters, forward and backward.
        paged: Bytes that move between the host's memory and the device.
    """

    flops: float
    bytes: float
    layers: float
    streamed: float = 0.0
    adapters: float = 0.0
    paged: float = 0.0

    def __add__(self, other: StepWork) -> StepWork:
        return StepWork(*map(operator.add, self._amounts, other._amounts))

    def __mul__(self, times: float) -> StepWork:
        return StepWork(*(amount * times for amount in self._amounts))

    @property
    def _amounts(self) -> tuple[float, ...]:
        return self.flops, self.bytes, self.layers, self.streamed, self.adapters, self.paged


def _block_parameters(model: ModelFacts) -> float:
    """Weights of the blocks that one token uses."""
    active = float(sum(linear.parameters for linear in linears(model)))
    if model.moe is not None:
        active += expert_parameters(model) * model.moe.experts_per_token / model.moe.experts
    return active


def forward_flops(model: ModelFacts, setup: Setup, length: float) -> tuple[float, float]:
    """Operations per token of one forward pass: of the blocks, and of the output head.

    Two per weight; attention's two products cover the text, or half of it on average if a fused
    kernel skips masked tokens.
    """
    causal = model.kind == "decoder" and setup.attention != "eager"
    attention = 4 * model.layers * model.attention_heads * model.head_dim * length
    blocks = 2 * _block_parameters(model) + attention * (0.5 if causal else 1.0)
    if setup.classes:
        return blocks, 0.0
    return blocks, 2.0 * model.vocabulary_size * model.hidden_size * setup.answer_fraction


def training_step(model: ModelFacts, setup: Setup) -> StepWork:
    """The work of one optimizer step of ``gradient_accumulation_steps`` micro-batches on one
    device."""
    tokens = float(setup.tokens)
    blocks, head = forward_flops(model, setup, setup.sequence_length)
    adapters = _adapter_flops(model, setup)
    # Gradients of the inputs cost one forward pass, those of trained weights another.
    backward = 2.0 if setup.traits.trains_base else 1.0
    recomputation = 1.0 if setup.gradient_checkpointing else 0.0
    flops = tokens * (blocks * (1 + recomputation + backward) + head * (1 + backward) + adapters)
    costs = layer_costs(model, setup)
    kept = sum(cost.kept * cost.count for cost in costs)
    vocabulary = setup.answer_fraction * model.vocabulary_size if not setup.classes else 0.0
    # Kept tensors are written once and read once, and about as many others are moved too. The loss
    # reads or writes float32 logits six times.
    moved = tokens * (kept * (4 + 2 * recomputation) + vocabulary * 24)
    passes = 1 + recomputation + backward
    moved += passes * _weight_traffic(model, setup)
    micro = StepWork(flops, moved, passes * model.layers, adapters=_adapter_count(model, setup))
    micro *= 1 / (1 - setup.extra.further_share)
    if setup.extra.reference:
        micro += evaluation(model, setup, setup.micro_batch, setup.sequence_length)
    return micro * setup.gradient_accumulation_steps + _optimizer_step(model, setup)


def evaluation(model: ModelFacts, setup: Setup, batch: int, length: float) -> StepWork:
    """The work of one forward pass of evaluation over a batch, without gradients."""
    tokens = batch * length
    blocks, head = forward_flops(model, setup, length)
    costs = layer_costs(model, setup)
    moved = 2 * tokens * sum(cost.kept * cost.count for cost in costs)
    moved += _weight_traffic(model, setup)
    flops = tokens * (blocks + head)
    return StepWork(flops, moved, model.layers, adapters=_adapter_count(model, setup))


def _weight_traffic(model: ModelFacts, setup: Setup) -> float:
    """Bytes of weights that one pass reads; 4-bit weights are unpacked to memory and read again."""
    stored = sum(base_weights(model, setup).values())
    weights = quantized_parameters(model, setup)
    unpacked = 2.0 * setup.compute_bytes * weights
    unpacked += _UNPACKING_OVERHEAD * (0.5 + setup.compute_bytes) * weights
    cast = 0.0
    if autocast_dtype(setup.precision) and setup.base_bytes == 4:
        cast = 4.0 * model.parameters
    return stored + unpacked + cast


def _adapter_count(model: ModelFacts, setup: Setup) -> int:
    """Number of frozen layers that have an adapter."""
    layers = setup.traits.adds
    if layers in TARGETED:
        return sum(linear.count for linear in targeted(model, setup.target_modules))
    if layers == "bottlenecks":
        return model.layers * (2 if setup.placement == "houlsby" else 1)
    return 0


def _adapter_flops(model: ModelFacts, setup: Setup) -> float:
    """Operations per token of adapters, forward and backward."""
    layers = setup.traits.adds
    if layers in ("low-rank", "bottlenecks"):
        return 6.0 * trainable_parameters(model, setup)
    if layers == "scaled-projections":  # low-rank matrices without gradients of their weights
        return 4.0 * projection_weights(model, setup)
    return 0.0


def _optimizer_step(model: ModelFacts, setup: Setup) -> StepWork:
    """The work of AdamW: reads weights and gradients, writes weights, reads and writes states.

    Optimizers with smaller states are not counted as faster: they move fewer bytes, but compute
    more for each. So a set-up with more memory never takes longer than one with smaller states.
    Paged states are read from the host's memory and written back.
    """
    trained = trainable_parameters(model, setup)
    work = StepWork(10.0 * trained, 0.0, 0.0, streamed=8.0 * trained * setup.trained_bytes)
    unpaged = setup.optimizer.removeprefix("paged_")
    if unpaged == setup.optimizer:
        return work
    return replace(work, paged=2.0 * optimizer_states(model, setup.replace(optimizer=unpaged)))
