"""The hardware of this machine: GPUs from the driver, processor and memory from the system.

Torch is asked only if the driver does not describe each GPU, since loading torch takes seconds.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.errors import SweeperError

_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,uuid,memory.total,memory.free,compute_cap,mig.mode.current",
    "--format=csv,noheader,nounits",
)
_DRIVER_TIMEOUT_SECONDS = 10.0
"""Time limit for ``nvidia-smi``: waking up a GPU takes a few seconds."""

BF16_CAPABILITY = 8.0
VISIBLE = "CUDA_VISIBLE_DEVICES"
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under WSL, and of AMD's driver."""
_DETECT_WITH_TORCH = "sweeper.training.probes.device:seen"
_TORCH_TIMEOUT_SECONDS = 120.0
_MIN_MEMORY_SHARE = 0.5
"""GPUs with less than this share of the largest free memory are left out: otherwise a GPU for the
display, or one in use, would limit what fits."""

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags in Linux's /proc/cpuinfo of processors that multiply matrices in bfloat16. ARM's are left
out, as their gain in training has not been measured."""


class Device(Record):
    """A device, described by torch.

    Args:
        capability: Compute capability of a GPU.
        torch: Version and build of torch.
    """

    kind: Literal["cuda", "cpu"]
    name: str
    torch: str
    uuid: str = ""
    free_gib: float = 0.0
    total_gib: float = 0.0
    capability: float = 0.0


class Visible(Record):
    """The GPUs to describe, as in ``CUDA_VISIBLE_DEVICES``; all if empty."""

    chosen: tuple[str, ...] = ()


class Devices(Record):
    """The GPUs that torch sees."""

    gpus: tuple[Device, ...] = ()


class DetectedGpu(NamedTuple):
    """One GPU of this machine.

    ``memory_gib`` is the free memory, ``handle`` its name in ``CUDA_VISIBLE_DEVICES``.
    """

    name: str
    memory_gib: float
    bf16: bool
    capability: float = 0.0
    handle: str = ""


class Processor(NamedTuple):
    """The processor and the memory that this process may use.

    ``bf16`` says whether it has instructions for products in bfloat16.
    """

    name: str
    cores: int
    memory_gib: float
    bf16: bool = False


def detected_gpus() -> tuple[DetectedGpu, ...]:
    """The GPUs that this process may use; none without a driver.

    Without ``CUDA_VISIBLE_DEVICES``, GPUs with much less free memory are left out.
    """
    visible = os.environ.get(VISIBLE)
    chosen = None if visible is None else tuple(part.strip() for part in visible.split(","))
    if chosen is not None and chosen[0] in ("", "-1"):
        return ()
    gpus = None if chosen and chosen[0].startswith("MIG-") else _from_driver()
    if gpus is None:
        gpus = _from_torch(chosen) if any(Path(file).exists() for file in _DRIVERS) else ()
    elif chosen is not None:
        return tuple(_visible_gpus(gpus, chosen))
    largest = max((gpu.memory_gib for gpu in gpus), default=0.0)
    all_chosen = chosen is not None
    return tuple(gpu for gpu in gpus if all_chosen or gpu.memory_gib >= _MIN_MEMORY_SHARE * largest)


def _visible_gpus(gpus: Sequence[DetectedGpu], chosen: Sequence[str]) -> Iterator[DetectedGpu]:
    """The chosen GPUs, by number or beginning of UUID. As in CUDA, an unknown one ends the list."""
    for part in chosen:
        if part.isdigit():
            matches = list(gpus[int(part) : int(part) + 1])
        else:
            matches = [gpu for gpu in gpus if part and gpu.handle.startswith(part)]
        if len(matches) != 1:
            return
        yield matches[0]


def _from_driver() -> tuple[DetectedGpu, ...] | None:
    """All GPUs in the order of the PCI bus; None if ``nvidia-smi`` does not describe each of them:
    if it is missing or old, in MIG mode, or if memory is shared with the CPU."""
    try:
        answer = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_DRIVER_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    gpus = [gpu for line in answer.stdout.splitlines() if (gpu := _parse(line))]
    return tuple(gpus) if len(gpus) == len(answer.stdout.splitlines()) else None


def _parse(line: str) -> DetectedGpu | None:
    """The GPU of a line such as ``NVIDIA L4, GPU-5b2c..., 23034, 22562, 8.9, [N/A]``."""
    try:
        name, uuid, _, free, capability, mig = (part.strip() for part in line.rsplit(",", 5))
        supported = float(capability)
        gpu = DetectedGpu(name, float(free) / 1024, supported >= BF16_CAPABILITY, supported, uuid)
    except ValueError:
        return None
    return None if mig == "Enabled" else gpu


@cache
def _from_torch(chosen: tuple[str, ...] | None) -> tuple[DetectedGpu, ...]:
    """The GPUs that torch finds in a child process, which takes seconds.

    Each MIG device has its own child, since a process sees one at most.
    """
    groups = [chosen or ()]
    if chosen and chosen[0].startswith("MIG-"):
        groups = [(part,) for part in chosen]
    return tuple(gpu for group in groups for gpu in _group_from_torch(group))


def _group_from_torch(chosen: tuple[str, ...]) -> Iterator[DetectedGpu]:
    request, what = Visible(chosen=chosen), "looking for GPUs"
    try:
        devices = in_child(
            _DETECT_WITH_TORCH, request, Devices, what=what, seconds=_TORCH_TIMEOUT_SECONDS
        )
    except (OSError, SweeperError):
        return
    for number, gpu in enumerate(devices.gpus):
        handle = chosen[number] if number < len(chosen) else str(number)
        bf16 = gpu.capability >= BF16_CAPABILITY
        yield DetectedGpu(gpu.name, gpu.free_gib, bf16, gpu.capability, handle)


def flash_attention(capability: float) -> Literal[2, 3] | None:
    """The version of an installed FlashAttention that supports this compute capability, or None."""
    if 9.0 <= capability < 10.0 and find_spec("flash_attn_interface"):
        return 3
    return 2 if capability >= 8.0 and find_spec("flash_attn") else None


def joins_rows(capability: float) -> bool:
    """Whether a GPU of this capability has a kernel for attention over packed rows: torch's own, or
    FlashAttention's."""
    torch = find_spec("torch")
    folders = (torch and torch.submodule_search_locations) or ()
    torch_has_kernel = any(Path(folder, "nn/attention/varlen.py").is_file() for folder in folders)
    return flash_attention(capability) is not None or (
        torch_has_kernel and capability >= BF16_CAPABILITY
    )


def fused_kernels(capability: float) -> bool:
    """Whether liger-kernel is installed, and Triton compiles for a GPU of this capability."""
    return capability >= BF16_CAPABILITY and find_spec("liger_kernel") is not None


def processor() -> Processor:
    """The processor and its memory, within the limits of a container."""
    cpuinfo = _cpuinfo()
    return Processor(
        name=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=_cores(),
        memory_gib=_memory() / 2**30,
        bf16=not _BF16_FLAGS.isdisjoint(cpuinfo.get("flags", "").split()),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry in ``/proc/cpuinfo``; empty without this file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cores() -> int:
    """The number of physical cores that this process may use.

    Hyper-threads are not counted: they share a core's arithmetic units.
    """
    import psutil  # imported here, as plans for a stated GPU do not need it

    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(1, min(physical, allowed, _processor_limit() or physical))


def _cgroup(*names: str) -> list[str]:
    """The words in the first of these cgroup files that exists."""
    for name in names:
        try:
            return (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError):
            continue
    return []


def _memory() -> int:
    """Main memory in bytes, or the container's limit if it is lower."""
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
