"""Measures the time and peak memory of training steps of one set-up.

Random weights of the real shapes are trained on random tokens. The peak is of torch's allocator on
a GPU, and of the process on a CPU.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn
from transformers import PretrainedConfig, Trainer

from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import autocast
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Probed, ProbeRequest, Setup
from sweeper.plans import autocast_dtype, frozen_dtype
from sweeper.strategies.loading import keep_trainable
from sweeper.strategies.targets import linear_layers
from sweeper.tasks.classification import Classifier
from sweeper.training.base_model.base_lender import set_gradient_checkpointing
from sweeper.training.loop.device_memory import PeakMemory, bytes_of, is_out_of_memory
from sweeper.training.loop.trainer import MAX_GRAD_NORM, arguments, trainable_cache
from sweeper.training.probes.bare_models import base_of, config_of, with_adapter_and_head
from sweeper.training.probes.device import training_device
from sweeper.units import GIB

# The first step creates the optimizer's states, so the peak is in the second.
_PEAK_STEPS = 2
_TIMED_STEPS = 3
# Micro-batches that are run of a step. Gradients exist from the second on: more do not raise the
# peak.
_MAX_MICRO_BATCHES = 2
# Quantisations that can be measured.
FOUR_BITS = ("nf4", "nf4-dq")
# transformers initialises most language models with this standard deviation; nothing overflows.
_WEIGHT_STD = 0.02


def probe(
    model: ModelFacts, setup: Setup, mean_length: int, config: PretrainedConfig | None = None
) -> Probed:
    """Train two steps at the set-up's length for the peak, and three at the mean for the time.

    Args:
        setup: Set-up for one device, not quantised or in four bits.
        mean_length: Mean tokens of an example.
        config: Configuration of the model; from its folder or the catalogue if None.

    Raises:
        UsageError: The set-up cannot be probed.
    """
    _check(setup)
    if setup.quantization is not None and setup.base_dtype is None:
        # The dtype in which QLoRA keeps weights that are not quantised.
        setup = setup.replace(base_dtype=frozen_dtype(setup.precision))
    own_device = training_device()
    device = torch.device(own_device.kind)
    config = config_of(model) if config is None else config
    figures: dict[str, Any] = {"out_of_memory": True}
    try:
        figures = _measure(config, model, setup, mean_length, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return Probed(free_gib=own_device.free_gib, total_gib=own_device.total_gib, **figures)


def _check(setup: Setup) -> None:
    if not setup.traits.gradients_through_base:
        raise UsageError("a head on frozen features takes no steps that could be probed")
    if setup.quantization is not None and setup.quantization not in FOUR_BITS:
        raise UsageError(f"weights in {setup.quantization} cannot be probed, only nf4 and nf4-dq")
    if setup.gpus > 1:
        raise UsageError("a probe measures one device")


def _measure(
    config: PretrainedConfig, model: ModelFacts, setup: Setup, mean: int, device: torch.device
) -> dict[str, Any]:
    """Memory and time of the steps, as fields of ``Probed``; ``mean`` is a length in tokens."""
    trained = random_model(config, model, setup, device)
    peak, loaded = PeakMemory(device), bytes_of(trained)
    optimizer = optimizer_of(trained, setup, device)
    vocab = int(config.get_text_config().vocab_size)
    with trainable_cache(trained):
        for _ in range(_PEAK_STEPS):
            _step(trained, optimizer, setup, _batch(setup, setup.sequence_length, vocab, device))
        peak_gib = round(peak.gib(loaded), 4)
        reserved = torch.cuda.max_memory_reserved() / GIB if device.type == "cuda" else None
        seconds = [
            _step(trained, optimizer, setup, _batch(setup, mean, vocab, device))
            for _ in range(_TIMED_STEPS)
        ]
    step_seconds = float(f"{median(seconds):.4g}")
    return {"peak_gib": peak_gib, "reserved_gib": reserved, "seconds_per_step": step_seconds}


def optimizer_of(trained: nn.Module, setup: Setup, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that a trial of this set-up would have."""
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(Path(folder), setup, {}, steps=1, seed=0, device=device)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(settings)
    optimizer: torch.optim.Optimizer = kind(weights, **options)
    return optimizer


def _step(
    trained: nn.Module, optimizer: torch.optim.Optimizer, setup: Setup, batch: dict[str, Tensor]
) -> float:
    """Seconds of one optimizer step, extrapolated from at most two of its micro-batches."""
    micro_batches = min(setup.gradient_accumulation_steps, _MAX_MICRO_BATCHES)
    start = _device_time()
    for _ in range(micro_batches):
        with autocast(batch["input_ids"].device, autocast_dtype(setup.precision)):
            loss = _loss(trained, batch)
        torch.autograd.backward([loss])
        del loss
    middle = _device_time()
    nn.utils.clip_grad_norm_(trained.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return (
        (middle - start) * setup.gradient_accumulation_steps / micro_batches
        + _device_time()
        - middle
    )


def _device_time() -> float:
    """The time in seconds after the device has finished its work; on a CPU, this thread's CPU
    time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.thread_time()


def _batch(setup: Setup, length: int, vocab: int, device: torch.device) -> dict[str, Tensor]:
    shape = (setup.micro_batch, length)
    mask = torch.ones(shape, dtype=torch.long, device=device)
    if setup.padded and length > 1:
        mask[-1, -1] = 0  # transformers drops a mask of ones
    return {"input_ids": torch.randint(0, vocab, shape, device=device), "attention_mask": mask}


def _loss(trained: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    if isinstance(trained, Classifier):
        logits = trained(**batch).float()
    else:
        logits = trained(**batch).logits.float().flatten(0, 1)
    return nn.functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def stay_within_memory() -> None:
    """Limit this process's memory to what is free, so that larger allocations fail.

    Otherwise Linux would kill this process or another.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return
    used = psutil.Process().memory_info().data
    limit = used + psutil.virtual_memory().available
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def answer(request: ProbeRequest) -> Probed:
    """Probe the set-up of a request within the free memory."""
    stay_within_memory()
    return probe(request.model, request.setup, request.mean_length)


def random_model(
    config: PretrainedConfig, model: ModelFacts, setup: Setup, device: torch.device
) -> nn.Module:
    """The model that a trial of this set-up trains, with random weights.

    Raises:
        ModelError: The architecture does not support the set-up's gradient checkpointing.
    """
    base = base_of(config, setup)
    if setup.quantization in FOUR_BITS:
        _quantise_in_place(base, device, double_quant=setup.quantization == "nf4-dq")
    else:
        _fill_randomly(base, device)
    trained = with_adapter_and_head(base, config, model, setup, device)
    set_gradient_checkpointing(base, setup.gradient_checkpointing)
    return trained


def _fill_randomly(base: Any, device: torch.device) -> None:
    """Set random weights, and buffers to zero, since some hold indices."""
    base.to_empty(device=device)
    base.tie_weights()
    with torch.no_grad():
        for weight in base.parameters():
            weight.normal_(0.0, _WEIGHT_STD)
        for buffer in base.buffers():
            buffer.zero_()


def _quantise_in_place(base: nn.Module, device: torch.device, *, double_quant: bool) -> None:
    """Replace the blocks' linear layers by random 4-bit ones, one by one as loading does."""
    quantised_layers = {}
    for name, layer in linear_layers(base).items():
        if isinstance(layer, nn.Linear):
            quantised_layers[name] = _linear_4bit(layer, layer.weight.dtype, device, double_quant)
            base.set_submodule(name, nn.Identity())
    _fill_randomly(base, device)
    for name, linear in quantised_layers.items():
        base.set_submodule(name, linear)
    keep_trainable(base)  # as loading a quantised model does
    vars(base)["is_loaded_in_4bit"] = True  # PEFT asks for it


def _linear_4bit(
    layer: nn.Linear, dtype: torch.dtype, device: torch.device, double_quant: bool
) -> Linear4bit:
    inputs, outputs = layer.in_features, layer.out_features
    linear = Linear4bit(
        inputs, outputs, bias=layer.bias is not None, compute_dtype=dtype, device="meta"
    )
    values = torch.randn(outputs, inputs, dtype=dtype, device=device) * _WEIGHT_STD
    weight = Params4bit(
        values,
        requires_grad=False,
        compress_statistics=double_quant,
        quant_type="nf4",
        module=linear,
    )
    linear.weight = weight.to(device)
    if layer.bias is not None:
        zeros = torch.zeros(outputs, dtype=dtype, device=device)
        linear.bias = nn.Parameter(zeros, requires_grad=False)
    return linear
