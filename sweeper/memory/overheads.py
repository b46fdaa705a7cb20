"""From allocated tensors to the memory of a device, counters, and the interval."""

from __future__ import annotations

from sweeper.memory.setup import Setup

#: What the allocator cannot do without, under pressure. Measured: on 80 GiB cards runs with 0.945
#: of the card in tensors went through and runs with 0.955 of it failed (fms-acceleration).
SLACK = 0.03
#: CUDA context and kernels: what nvidia-smi shows beyond reserved memory on cards since Ampere.
CONTEXT_GIB = 0.5
#: Resident size of a Python process with torch, transformers and peft loaded, on a CPU.
#: Measured: 0.51 GiB (torch 2.13, transformers 5.24, peft 0.21).
PROCESS_GIB = 0.5
#: By how much a CPU process grows beyond its tensors: a share of what moves during a step, for what
#: malloc cannot give back, and thread pools and buffers. Fitted by least squares to 37 trials of
#: MiniLM and SmolLM2-135M, every strategy on every task (``benchmarks/memory``).
CPU_SLACK, CPU_BUFFERS_GIB = 0.11, 0.07

#: What a trial keeps in main memory: the weights of its best rung.
BEST_COPY = "copy of the best weights"
#: Parts of an estimate that no tensor of a training step accounts for.
OVERHEADS = ("allocator slack", "device context", "process", BEST_COPY)


#: Texts that a model answers at a time. Keys and values of a 7B model take 0.5 MiB a token, so that
#: 8 texts of 1,000 tokens each stay under 5 GiB.
MIN_PROMPTS, _MAX_PROMPTS = 8, 64
#: The keys and values of all texts, in 16 bits, may take this share of a GPU's free memory.
_CACHE_SHARE = 0.25


def cache_bytes(layers: int, key_value_width: int, tokens: float) -> float:
    """Bytes of the keys and values of a text, in 16 bits."""
    return 2.0 * 2.0 * layers * key_value_width * tokens


def prompts_at_once(cached: float, free: float) -> int:
    """The number of prompts that a GPU answers at a time.

    Args:
        cached: ``cache_bytes`` of a prompt with its answers.
        free: Bytes of the GPU's memory.
    """
    return int(max(MIN_PROMPTS, min(_MAX_PROMPTS, _CACHE_SHARE * free / cached)))


def overheads(tensors_gib: float, held_gib: float, device: str) -> dict[str, float]:
    """GiB beside the tensors that a device or process must have, by readable name.

    Args:
        tensors_gib: At the peak.
        held_gib: Of them, what is there between steps too.
        device: ``cuda`` or ``cpu``.
    """
    if device == "cuda":
        return {"allocator slack": tensors_gib * SLACK, "device context": CONTEXT_GIB}
    slack = (tensors_gib - held_gib) * CPU_SLACK + CPU_BUFFERS_GIB
    return {"allocator slack": slack, "process": PROCESS_GIB}


#: Factors on the central figure between which nine of ten measurements should lie, calibrated on
#: published measurements of tier A (``benchmarks/memory``). Where shape, lengths and library are
#: known, as they are in a sweep of our own:
KNOWN = (0.92, 1.12)
#: The same on a CPU, where malloc decides.
ON_CPU = (0.85, 1.2)
#: Not all layers are attention, and are counted as if they were.
UNKNOWN = (0.6, 2.6)


def spread(setup: Setup, *, known: bool) -> tuple[float, float]:
    """The spread of measurements of such a set-up around the estimate, as factors."""
    if not known:
        return UNKNOWN
    return KNOWN if setup.device == "cuda" else ON_CPU
