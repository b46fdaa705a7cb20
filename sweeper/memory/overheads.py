"""Memory of a device beyond allocated tensors, and the uncertainty of an estimate."""

from __future__ import annotations

from sweeper.memory.setup import Setup

#: Share of the tensors that the allocator needs in addition. Measured: on 80 GiB cards runs with
#: 0.945 of the memory in tensors succeeded and runs with 0.955 of it failed (fms-acceleration).
SLACK = 0.03
#: CUDA context and kernels: memory that nvidia-smi shows beyond reserved memory, since Ampere.
CONTEXT_GIB = 0.5
#: Resident size of a Python process with torch, transformers and peft loaded, on a CPU.
#: Measured: 0.51 GiB (torch 2.13, transformers 5.24, peft 0.21).
PROCESS_GIB = 0.5
#: Growth of a CPU process beyond its tensors: a share of the tensors of a step, which malloc cannot
#: return, and GiB for thread pools and buffers. Fitted by least squares to 37 trials of
#: MiniLM and SmolLM2-135M, every strategy on every task (``benchmarks/memory``).
CPU_SLACK, CPU_BUFFERS_GIB = 0.11, 0.07

#: Part of an estimate: the weights of a trial's best rung, kept in main memory.
BEST_COPY = "copy of the best weights"
#: Parts of an estimate that are not tensors of a training step.
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
        free: Free bytes of the GPU's memory.
    """
    return int(max(MIN_PROMPTS, min(_MAX_PROMPTS, _CACHE_SHARE * free / cached)))


def overheads(tensors_gib: float, held_gib: float, device: str) -> dict[str, float]:
    """GiB that a device or process needs beyond the tensors, by readable name.

    Args:
        tensors_gib: GiB of tensors at the peak.
        held_gib: GiB of them that also exist between steps.
        device: ``cuda`` or ``cpu``.
    """
    if device == "cuda":
        return {"allocator slack": tensors_gib * SLACK, "device context": CONTEXT_GIB}
    slack = (tensors_gib - held_gib) * CPU_SLACK + CPU_BUFFERS_GIB
    return {"allocator slack": slack, "process": PROCESS_GIB}


#: Factors on the estimate between which nine of ten measurements should lie, calibrated on
#: published measurements of tier A (``benchmarks/memory``). If shape, lengths and library are
#: known, as in a sweep:
KNOWN = (0.92, 1.12)
#: The same on a CPU, where malloc adds uncertainty.
ON_CPU = (0.85, 1.2)
#: If layers without attention are counted as attention.
UNKNOWN = (0.6, 2.6)


def spread(setup: Setup, *, known: bool) -> tuple[float, float]:
    """The factors on the estimate between which nine of ten measurements of the set-up lie."""
    if not known:
        return UNKNOWN
    return KNOWN if setup.device == "cuda" else ON_CPU
