"""The time of a training step: its work, from the shapes of a model, and the speed of a device."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, replace

from sweeper.facts.models.linear_layers import expert_parameters, linears, targeted
from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.memory.layers import layer_costs
from sweeper.memory.setup import Setup
from sweeper.memory.states import (
    base_weights,
    optimizer_states,
    projection_weights,
    quantized_parameters,
    trainable_parameters,
)
from sweeper.plans import Duration, autocast_dtype
from sweeper.traits.traits import TARGETED
from sweeper.units import GIB

# Share of the moved bytes that unpacking 4-bit weights adds, as it takes longer than moving them.
# Fitted with the speed of GPUs to six of litgpt's trainings with 4-bit weights (3B and 7B, A100
# 40GB), each compared with the same training without.
_UNPACKING_OVERHEAD = 0.7


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of a device in one pass or step.

    Args:
        flops: Floating-point operations of matrix products.
        bytes: Bytes that forward and backward passes move between memory and arithmetic units.
        layers: Number of layers that are passed, counted again in each pass.
        streamed: Bytes that the optimizer moves, tensor by tensor.
        adapters: Number of adapters that are passed; forward and backward pass count as one.
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

    Two per weight. Attention's two products cover the text, or half of it on average if a fused
    kernel skips masked tokens.
    """
    skips_masked = model.kind == "decoder" and setup.attention != "eager"
    attention = 4 * model.layers * model.attention_heads * model.head_dim * length
    blocks = 2 * _block_parameters(model) + attention * (0.5 if skips_masked else 1.0)
    if setup.classes:
        return blocks, 0.0
    return blocks, 2.0 * model.vocabulary_size * model.hidden_size * setup.answer_fraction


def training_step(model: ModelFacts, setup: Setup) -> StepWork:
    """The work of one optimizer step of ``gradient_accumulation_steps`` micro-batches on one
    device."""
    tokens = float(setup.tokens)
    blocks, head = forward_flops(model, setup, setup.sequence_length)
    adapter = _adapter_flops(model, setup)
    # Gradients of the inputs cost one forward pass, those of trained weights another.
    backward = 2.0 if setup.traits.trains_base else 1.0
    recomputation = 1.0 if setup.gradient_checkpointing else 0.0
    flops = tokens * (blocks * (1 + recomputation + backward) + head * (1 + backward) + adapter)
    costs = layer_costs(model, setup)
    kept = sum(cost.kept * cost.count for cost in costs)
    vocabulary = setup.answer_fraction * model.vocabulary_size if not setup.classes else 0.0
    # Tensors kept for the backward pass are written once and read once, and about as many others
    # are moved too. The loss reads or writes float32 logits six times.
    moved = tokens * (kept * (4 + 2 * recomputation) + vocabulary * 24)
    passes = 1 + recomputation + backward
    moved += passes * _weight_traffic(model, setup)
    micro = StepWork(flops, moved, passes * model.layers, adapters=_adapter_count(model, setup))
    # Batches that features add, as a share of all tokens, cost as much as those of the data.
    micro *= 1 / (1 - setup.extra.further_share)
    if setup.extra.reference:  # a penalty that compares with the base's outputs
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
    """Bytes of weights that one pass moves; 4-bit weights are unpacked to memory and read again."""
    stored = sum(base_weights(model, setup).values())
    weights = quantized_parameters(model, setup)
    unpacked = 2.0 * setup.compute_bytes * weights
    unpacked += _UNPACKING_OVERHEAD * (0.5 + setup.compute_bytes) * weights
    cast = 0.0
    if autocast_dtype(setup.precision) and setup.base_bytes == 4:
        cast = 4.0 * model.parameters
    return stored + unpacked + cast


def _adapter_count(model: ModelFacts, setup: Setup) -> int:
    """Number of the base's layers that have an adapter."""
    adds = setup.traits.adds
    if adds in TARGETED:
        return sum(linear.count for linear in targeted(model, setup.target_modules))
    if adds == "bottlenecks":
        return model.layers * (2 if setup.placement == "houlsby" else 1)
    return 0


def _adapter_flops(model: ModelFacts, setup: Setup) -> float:
    """Operations per token of adapters, forward and backward."""
    adds = setup.traits.adds
    if adds in ("low-rank", "bottlenecks"):
        return 6.0 * trainable_parameters(model, setup)
    if adds == "scaled-projections":  # low-rank matrices without gradients of their weights
        return 4.0 * projection_weights(model, setup)
    return 0.0


def _optimizer_step(model: ModelFacts, setup: Setup) -> StepWork:
    """The work of AdamW, as moving the trained weights' bytes eight times.

    A step reads weights, gradients and two states, and writes weights and states: seven times.
    Clipping reads the gradients once more. The speeds below were fitted with these eight.
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


# Bytes per second between a host and its GPU, of the 32 GB/s of PCI Express 4.0 with 16 lanes.
_HOST_BANDWIDTH = 25e9


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed that a device reaches in a training step, below that of its data sheet.

    Args:
        flops: Operations per second in matrix products, with the kernels around them.
        bandwidth: Bytes per second that passes move; infinite if ``flops`` includes that time.
        stream: Bytes per second that the optimizer moves.
        layer_seconds: Fixed seconds of a pass through one layer: small kernels and interpreter.
        adapter_seconds: Fixed seconds of an adapter, forward and backward.
        step_seconds: Fixed seconds of an optimizer step: data, schedule, clipping.
        generation_seconds: Seconds that a layer adds per generated token: cache and weights.
        spread: Factors from the estimate to the ends of its range.
        memory_bytes: Memory of a GPU, which limits the batch of generated answers; 0 on a CPU.
    """

    flops: float
    bandwidth: float
    stream: float
    layer_seconds: float
    adapter_seconds: float
    step_seconds: float
    generation_seconds: float
    spread: tuple[float, float]
    memory_bytes: float = 0.0

    def seconds(self, work: StepWork) -> float:
        """Seconds of the work, without those of a whole step (``step_seconds``)."""
        return (
            work.flops / self.flops
            + work.bytes / self.bandwidth
            + work.streamed / self.stream
            + work.layers * self.layer_seconds
            + work.adapters * self.adapter_seconds
            + work.paged / _HOST_BANDWIDTH
        )

    def duration(self, seconds: float) -> Duration:
        """Estimated seconds, with the range in which the true ones are expected."""
        low, high = self.spread
        return Duration(seconds=seconds, low=seconds * low, high=seconds * high)

    def on(self, share: float) -> Speed:
        """The speed with ``share`` times as many threads; fixed times stay, since they use one."""
        return replace(self, flops=self.flops * share, stream=self.stream * share)


# Shares of the data sheet's operations and bandwidth that training reaches, and seconds per layer.
# Fitted to 113 published trainings with transformers and PEFT without torch.compile: 95 of
# fms-acceleration on an A100 80GB (7B to 8x7B, micro-batches of 4 to 32, 434 to 4,096 tokens), 12
# of PEFT's method comparison on an L40S (3B, four texts of 210 tokens), and what 4-bit weights add
# to 6 of litgpt on an A100 40GB.
_GPU_FLOPS, _GPU_BANDWIDTH, _GPU_LAYER = 0.69, 0.44, 0.0003
# Factors to the ends of the range. Nine of ten of those trainings took between 0.85 and 1.35 times
# what these figures give.
_GPU_SPREAD = (0.7, 1.5)
#: Speed of cards without known figures, in TFLOPS and GB/s.
_DEFAULT_TFLOPS, _DEFAULT_BANDWIDTH = 100.0, 900.0


def speed_of(hardware: HardwareFacts, setup: Setup) -> Speed:
    """The device's speed at the set-up's precision."""
    if hardware.device == "cpu":
        return _cpu_speed(hardware, setup.precision)
    tflops = hardware.bf16_tflops or hardware.fp32_tflops or _DEFAULT_TFLOPS
    if setup.precision == "fp16-mixed" and hardware.fp16_tflops:
        tflops = hardware.fp16_tflops
    if setup.precision == "fp32" and hardware.fp32_tflops:
        tflops = hardware.fp32_tflops
    bandwidth = hardware.bandwidth_gb_per_second or _DEFAULT_BANDWIDTH
    return Speed(
        flops=tflops * 1e12 * _GPU_FLOPS,
        bandwidth=bandwidth * 1e9 * _GPU_BANDWIDTH,
        stream=bandwidth * 1e9 * _GPU_BANDWIDTH,
        layer_seconds=_GPU_LAYER,
        adapter_seconds=0.0,
        step_seconds=0.005,
        generation_seconds=0.0,
        spread=_GPU_SPREAD,
        memory_bytes=hardware.memory_gib * GIB,
    )


def possible_machines(hardware: HardwareFacts) -> tuple[HardwareFacts, ...]:
    """The machine with each GPU that it may have; only itself if the GPU is known."""
    return tuple(
        hardware.model_copy(update=card.model_dump(exclude={"name"})) for card in hardware.cards
    ) or (hardware,)


def of_one_worker(hardware: HardwareFacts, workers: int) -> HardwareFacts:
    """The machine for one of several workers: its share of a processor's cores, or whole GPUs."""
    cores = hardware.cpu_cores or 1
    if hardware.device != "cpu" or min(workers, cores) == 1:
        return hardware
    own_cores = max(1, cores // workers)
    speeds = ("fp32_tflops", "bandwidth_gb_per_second")
    shares = {
        name: s * own_cores / cores for name in speeds if (s := getattr(hardware, name)) is not None
    }
    return hardware.model_copy(update={"cpu_cores": own_cores, **shares})


# Speed of a core without calibration: that of one core of an EPYC of 2023 (AVX-512), as measured.
_CORE_GFLOPS, _CORE_BANDWIDTH_GB = 86.0, 21.0
# Shares of a processor's operations and bandwidth that training reaches, the factor of bfloat16,
# and seconds per layer and adapter. Fitted to 38 set-ups of MiniLM and SmolLM2-135M (full and LoRA,
# fp32 and bf16, 96 to 1,536 tokens a step) on one core of an EPYC with AVX512-BF16
# (benchmarks/findings.md): steps took between 0.8 and 1.2 times the fit. Element-wise operations
# grow with the tokens, as matrix products do, so the products' rate includes their time.
_CPU_FLOPS, _CPU_STREAM, _CPU_BF16_GAIN = 0.77, 0.46, 2.35
_CPU_LAYER, _CPU_ADAPTER = 0.0004, 0.0009
# Seconds per optimizer step that the Trainer and data loading add.
_CPU_STEP = 0.006
# Seconds that a layer adds per generated token. SmolLM2-135M in fp32 took 44 ms on that core for a
# token of one text, and 85 ms for a token of each of 8 texts.
_CPU_GENERATION = 0.0011
# Factors to the ends of the range, with and without calibration: processors differ by a factor of
# two or three.
_CPU_SPREAD, _CPU_WIDE_SPREAD = (0.75, 1.4), (0.5, 2.0)


def _cpu_speed(hardware: HardwareFacts, precision: str) -> Speed:
    """The speed of all cores together, from the machine's calibration if there is one."""
    cores = hardware.cpu_cores or 1
    peak = hardware.fp32_tflops or cores * _CORE_GFLOPS / 1000
    bandwidth = hardware.bandwidth_gb_per_second or cores * _CORE_BANDWIDTH_GB
    gain = _CPU_BF16_GAIN if hardware.bf16 and precision != "fp32" else 1.0
    calibrated = hardware.fp32_tflops is not None and hardware.bandwidth_gb_per_second is not None
    return Speed(
        flops=peak * 1e12 * _CPU_FLOPS * gain,
        bandwidth=math.inf,
        stream=bandwidth * 1e9 * _CPU_STREAM,
        layer_seconds=_CPU_LAYER,
        adapter_seconds=_CPU_ADAPTER,
        step_seconds=_CPU_STEP,
        generation_seconds=_CPU_GENERATION,
        spread=_CPU_SPREAD if calibrated else _CPU_WIDE_SPREAD,
    )


def step_seconds(model: ModelFacts, setup: Setup, speed: Speed) -> float:
    """Seconds of one optimizer step at that speed."""
    return speed.seconds(training_step(model, setup)) + speed.step_seconds
