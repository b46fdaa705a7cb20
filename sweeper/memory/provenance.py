"""The source of each part of an estimate, and memory that is not modelled."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup

SHAPES = "derived from shapes"
#: Parts that do not follow from shapes and operations.
_ORIGINS = {
    "library workspace": "measured: 16 MiB between steps, fms-acceleration on an A100",
    "allocator slack": "fitted on 82 runs, fms-acceleration on cards of 80 GiB",
    "device context": "assumed: 0.5 GiB on cards since Ampere",
    "process": "measured: Python, torch, transformers and peft in main memory",
    "measured here": "measured here",
}
_ON_CPU = {"allocator slack": "fitted on 37 trials of the packaged models, benchmarks/memory"}


def origins(parts: Iterable[str], device: str) -> dict[str, str]:
    """The source of the size of each of these parts."""
    known = _ORIGINS | (_ON_CPU if device == "cpu" else {})
    return {name: known.get(name, SHAPES) for name in parts}


def not_modelled(model: ModelFacts, setup: Setup) -> tuple[str, ...]:
    """Uses of memory in such a run that are not counted."""
    found = []
    if setup.device == "cuda":
        found += [
            "other programs on the GPU, such as a desktop",
            "memory pools of torch.compile and CUDA graphs",
            "slower attention kernels on cards older than Ampere",
        ]
    else:
        found.append("the data set, and what the data loader copies of it")
    if setup.gpus > 1:
        found.append("NCCL's buffers, and shards that a rank gathers ahead of time")
    if not setup.classes:
        found.append("answers that evaluation generates: keys and values of all their tokens")
    if model.moe is not None:
        found.append("routers that send most tokens to few experts; equal shares are assumed")
        beside = model.moe.shared_intermediate_size or model.layers > model.moe.layers
        if beside and setup.traits.adds == "low-rank":
            found.append(
                "adapters that PEFT puts on stacked experts whose projections are called like "
                "those of other layers, as in DeepSeek: a copy of all experts of a layer"
            )
    if not model.attention_only:
        found.append("scans and convolutions of layers without attention")
    if setup.quantization == "int4":
        found.append("scratch memory of GPTQ and AWQ kernels, and layers that they leave out")
    if "paged" in setup.optimizer:
        found.append("optimizer states that stay on the GPU until it is full")
    if setup.gradient_checkpointing:
        found.append("models that recompute more than one layer at a time")
    return tuple(found)
