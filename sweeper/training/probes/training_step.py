"""Measures real training steps of one set-up: the device's peak, or the process's on a CPU.

Trains random weights of the real shapes on random tokens; knows no data, no trial, and nothing of
what becomes of its answer. Not run on a GPU yet: there it reads the allocator's counters.
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
from sweeper.memory.requests import Probed, ProbeRequest
from sweeper.memory.setup import Setup
from sweeper.plans import autocast_dtype, half_of
from sweeper.strategies.loading import keep_trainable
from sweeper.strategies.targets import linear_layers
from sweeper.tasks.classification import Classifier
from sweeper.training.base_model.lent_base import checkpoint
from sweeper.training.loop.device_memory import PeakMemory, bytes_of, is_out_of_memory
from sweeper.training.loop.quick_steps import quick_steps
from sweeper.training.loop.trainer import MAX_GRAD_NORM, arguments
from sweeper.training.probes.bare_models import base_of, config_of, dressed
from sweeper.units import GIB

# The first step fills caches and makes the optimizer's states; the peak is in the second.
_PEAK_STEPS = 2
_TIMED_STEPS = 3
# From the second micro-batch of a step on, gradients are there: more of them change no peak.
_PASSES = 2
FOUR_BITS = ("nf4", "nf4-dq")
# As transformers initialises most language models, so that no activation overflows.
_SPREAD = 0.02


def probe(
    model: ModelFacts, setup: Setup, mean_length: int, config: PretrainedConfig | None = None
) -> Probed:
    """Train a few steps: two at the set-up's length for the peak, three at the mean for the time.

    Args:
        setup: On at most one device, with four-bit weights or none that are quantised.
        mean_length: Tokens of an example, on average.
        config: Configuration of the model; found by its facts if None.

    Raises:
        UsageError: Such a set-up cannot be probed.
    """
    _check(setup)
    if setup.quantization is not None and setup.base_dtype is None:
        # As QLoRA holds what it does not quantise.
        setup = setup.replace(base_dtype=half_of(setup.precision))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = config_of(model) if config is None else config
    free, total = _memory(device)
    figures: dict[str, Any] = {"out_of_memory": True}
    try:
        figures = _measure(config, model, setup, mean_length, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return Probed(free_gib=free / GIB, total_gib=total / GIB, **figures)


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes that are free, and all there are."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(free), int(total)
    memory = psutil.virtual_memory()
    return memory.available, memory.total


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
    trained = random_model(config, model, setup, device)
    peak, loaded = PeakMemory(device), bytes_of(trained)
    optimizer = optimizer_of(trained, setup, device)
    words = int(config.get_text_config().vocab_size)
    with quick_steps(trained):
        for _ in range(_PEAK_STEPS):
            _step(trained, optimizer, setup, _batch(setup, setup.sequence_length, words, device))
        highest = round(peak.gib(loaded), 4)
        reserved = torch.cuda.max_memory_reserved() / GIB if device.type == "cuda" else None
        seconds = [
            _step(trained, optimizer, setup, _batch(setup, mean, words, device))
            for _ in range(_TIMED_STEPS)
        ]
    taken = float(f"{median(seconds):.4g}")
    return {"peak_gib": highest, "reserved_gib": reserved, "seconds_per_step": taken}


def optimizer_of(trained: nn.Module, setup: Setup, device: torch.device) -> torch.optim.Optimizer:
    """The one that a trial of this set-up would have."""
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(
            Path(folder),
            steps=1,
            micro_batch=setup.micro_batch,
            accumulation=setup.gradient_accumulation_steps,
            parameters={},
            optimizer=setup.optimizer,
            seed=0,
            device=device,
        )
        kind, options = Trainer.get_optimizer_cls_and_kwargs(settings)
    made: torch.optim.Optimizer = kind(weights, **options)
    return made


def _step(
    trained: nn.Module, optimizer: torch.optim.Optimizer, setup: Setup, batch: dict[str, Tensor]
) -> float:
    """Seconds of one optimizer step; of many micro-batches two are trained for all of them."""
    passes = min(setup.gradient_accumulation_steps, _PASSES)
    began = _now()
    for _ in range(passes):
        with autocast(batch["input_ids"].device, autocast_dtype(setup.precision)):
            loss = _loss(trained, batch)
        torch.autograd.backward([loss])
        del loss
    passed = _now()
    nn.utils.clip_grad_norm_(trained.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return (passed - began) * setup.gradient_accumulation_steps / passes + _now() - passed


def _now() -> float:
    """When the device has finished its work; on a CPU the time in which this thread had a core."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.thread_time()


def _batch(setup: Setup, length: int, words: int, device: torch.device) -> dict[str, Tensor]:
    shape = (setup.micro_batch, length)
    mask = torch.ones(shape, dtype=torch.long, device=device)
    if setup.padded and length > 1:
        mask[-1, -1] = 0  # a mask of ones would be dropped
    return {"input_ids": torch.randint(0, words, shape, device=device), "attention_mask": mask}


def _loss(trained: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    if isinstance(trained, Classifier):
        rows = trained(**batch).float()
    else:
        rows = trained(**batch).logits.float().flatten(0, 1)
    return nn.functional.cross_entropy(rows, rows.new_zeros(len(rows), dtype=torch.long))


def stay_within_memory() -> None:
    """Let an allocation fail where it would take more of the host's memory than is free.

    Without this, Linux would end this process, or another one, in its stead.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return
    now = psutil.Process().memory_info().data
    free, _ = _memory(torch.device("cpu"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = now + free if hard == resource.RLIM_INFINITY else min(now + free, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def answer(request: ProbeRequest) -> Probed:
    """Do what a request asks, within the memory that is free."""
    stay_within_memory()
    return probe(request.model, request.setup, request.mean_length)


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
            packed[name] = _four_bits(layer, layer.weight.dtype, device, twice)
            base.set_submodule(name, nn.Identity())
    _filled(base, device)
    for name, four in packed.items():
        base.set_submodule(name, four)
    keep_trainable(base)
    vars(base)["is_loaded_in_4bit"] = True  # PEFT asks for it


def _four_bits(
    layer: nn.Linear, dtype: torch.dtype, device: torch.device, twice: bool
) -> Linear4bit:
    inputs, outputs = layer.in_features, layer.out_features
    four = Linear4bit(
        inputs, outputs, bias=layer.bias is not None, compute_dtype=dtype, device="meta"
    )
    values = torch.randn(outputs, inputs, dtype=dtype, device=device) * _SPREAD
    weight = Params4bit(
        values, requires_grad=False, compress_statistics=twice, quant_type="nf4", module=four
    )
    four.weight = weight.to(device)
    if layer.bias is not None:
        zeros = torch.zeros(outputs, dtype=dtype, device=device)
        four.bias = nn.Parameter(zeros, requires_grad=False)
    return four
