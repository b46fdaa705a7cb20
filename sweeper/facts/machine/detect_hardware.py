"""The hardware of this machine: GPUs from the driver, processor and memory from the system.

Without torch: a plan must not wait seconds to learn how much memory a GPU has.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,compute_cap",
    "--format=csv,noheader,nounits",
)
_SECONDS = 10.0
"""A driver that wakes up a GPU takes a few seconds; one that hangs must not hang a plan."""

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions that multiply in bfloat16, as Linux names them. ARM's are not counted: nobody has
measured there what training gains."""


class DetectedGpu(NamedTuple):
    """One GPU as the driver describes it."""

    name: str
    memory_gib: float
    bf16: bool
    capability: float = 0.0


class Processor(NamedTuple):
    """The processor and the memory that this process may use.

    ``bf16`` says whether it has instructions for products in bfloat16.
    """

    name: str
    cores: int
    memory_gib: float
    bf16: bool = False


def detected_gpus() -> tuple[DetectedGpu, ...]:
    """The GPUs that this process may use; none where there is no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.strip().startswith("-1")):
        return ()
    try:
        answer = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    gpus = [gpu for line in answer.stdout.splitlines() if (gpu := _parse(line))]
    if visible is None:
        return tuple(gpus)
    chosen = [part.strip() for part in visible.split(",")]
    if all(part.isdigit() for part in chosen):
        return tuple(gpus[int(part)] for part in chosen if int(part) < len(gpus))
    return tuple(gpus[: len(chosen)])  # by UUID: how many is known, which one hardly matters


def _parse(line: str) -> DetectedGpu | None:
    """One line of the answer: ``NVIDIA A100-SXM4-80GB, 81920, 8.0``."""
    parts = [part.strip() for part in line.rsplit(",", 2)]
    try:
        name, mebibytes, capability = parts
        supported = float(capability)
        return DetectedGpu(name, float(mebibytes) / 1024, supported >= 8.0, supported)
    except ValueError:
        return None


def flash_attention(capability: float) -> Literal[2, 3] | None:
    """The installed FlashAttention that a GPU of this compute capability runs; None without one."""
    if capability >= 9.0 and find_spec("flash_attn_interface"):
        return 3
    return 2 if capability >= 8.0 and find_spec("flash_attn") else None


def processor() -> Processor:
    """Processor and memory, with the limits of a container taken into account."""
    described = _cpuinfo()
    return Processor(
        name=described.get("model name") or platform.processor() or platform.machine(),
        cores=_cores(),
        memory_gib=_memory() / 2**30,
        bf16=not _BF16_FLAGS.isdisjoint(described.get("flags", "").split()),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry in ``/proc/cpuinfo``; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cores() -> int:
    """Physical cores, or fewer where this process may not use them all.

    Two threads of one core share its arithmetic units, so that they do not train faster.
    """
    import psutil  # plans for a stated GPU do without

    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(physical, allowed, _processor_limit() or physical))


def _cgroup(*names: str) -> list[str]:
    """The words in the first of these control files that exists."""
    for name in names:
        try:
            return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError):
            continue
    return []


def _memory() -> int:
    """Bytes of main memory, or the container's limit where that is lower."""
    import psutil

    total: int = psutil.virtual_memory().total
    words = _cgroup("memory.max", "memory/memory.limit_in_bytes")
    limit = int(words[0]) if words and words[0].isdigit() else 0
    return min(limit, total) if limit > 0 else total


def _processor_limit() -> int | None:
    words = _cgroup("cpu.max")
    if len(words) == 2 and all(word.isdigit() for word in words):
        quota, period = map(int, words)
        return max(1, round(quota / period)) if period else None
    return None
