"""The machine that trials run on: stated GPUs, detected GPUs, or the processor."""

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
from sweeper.errors import SweeperError, UsageError
from sweeper.facts.machine import gpus
from sweeper.facts.machine.gpus import Gpu
from sweeper.facts.machine.measured import TIMES_OF, read_calibration
from sweeper.facts.record import CardFacts, HardwareFacts
from sweeper.features import parts
from sweeper.spec import HardwareSpec

_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,uuid,memory.total,memory.free,compute_cap,mig.mode.current",
    "--format=csv,noheader,nounits",
)
_DRIVER_TIMEOUT_SECONDS = 10.0
"""Time limit for ``nvidia-smi``: waking up a GPU takes a few seconds."""

BF16_CAPABILITY = 8.0
"""Compute capability of Ampere, the first GPUs that multiply matrices in bfloat16."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that limits the GPUs that CUDA programs see."""

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under WSL, and of AMD's driver."""
_DETECT_WITH_TORCH = "sweeper.training.probes.device:visible_gpus"
"""Function of the child process that describes GPUs by torch."""

_TORCH_TIMEOUT_SECONDS = 120.0
_MIN_MEMORY_SHARE = 0.5
"""GPUs with less than this share of the largest free memory are left out: otherwise a GPU for the
display, or one in use, would limit what fits."""

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags in Linux's /proc/cpuinfo of processors that multiply matrices in bfloat16. ARM's are left
out, as their gain in training has not been measured."""


class Device(Record):
    """A device of this machine, described by torch or by the driver.

    Args:
        capability: Compute capability of a GPU.
        handle: Name of a GPU in ``CUDA_VISIBLE_DEVICES``.
        torch: Version and build of torch; empty if the driver describes the device.
    """

    kind: Literal["cuda", "cpu"] = "cuda"
    name: str
    free_gib: float = 0.0
    total_gib: float = 0.0
    capability: float = 0.0
    handle: str = ""
    torch: str = ""

    @property
    def bf16(self) -> bool:
        """Whether the GPU multiplies matrices in bfloat16."""
        return self.capability >= BF16_CAPABILITY


class Visible(Record):
    """The GPUs to describe, as in ``CUDA_VISIBLE_DEVICES``; all if empty."""

    chosen: tuple[str, ...] = ()


class Devices(Record):
    """The GPUs that torch sees."""

    gpus: tuple[Device, ...] = ()


class Processor(NamedTuple):
    """The processor and the memory that this process may use.

    ``bf16`` says whether it has instructions for products in bfloat16.
    """

    name: str
    cores: int
    memory_gib: float
    bf16: bool = False


def detected_gpus() -> tuple[Device, ...]:
    """The GPUs that this process may use; none without a driver.

    Without ``CUDA_VISIBLE_DEVICES``, GPUs with much less free memory are left out.
    """
    visible = os.environ.get(VISIBLE)
    chosen = None if visible is None else tuple(part.strip() for part in visible.split(","))
    if chosen is not None and chosen[0] in ("", "-1"):  # the variable hides all GPUs
        return ()
    # Only torch describes MIG devices.
    devices = None if chosen and chosen[0].startswith("MIG-") else _from_driver()
    if devices is None:
        devices = _from_torch(chosen) if any(Path(file).exists() for file in _DRIVERS) else ()
    elif chosen is not None:
        return tuple(_visible_gpus(devices, chosen))
    largest = max((gpu.free_gib for gpu in devices), default=0.0)
    least = _MIN_MEMORY_SHARE * largest if chosen is None else 0.0
    return tuple(gpu for gpu in devices if gpu.free_gib >= least)


def _visible_gpus(devices: Sequence[Device], chosen: Sequence[str]) -> Iterator[Device]:
    """The GPUs that ``chosen`` names by number or by the beginning of their UUID.

    As in CUDA, an unknown name ends the list.
    """
    for part in chosen:
        if part.isdigit():
            matches = list(devices[int(part) : int(part) + 1])
        else:
            matches = [gpu for gpu in devices if part and gpu.handle.startswith(part)]
        if len(matches) != 1:
            return
        yield matches[0]


def _from_driver() -> tuple[Device, ...] | None:
    """All GPUs in the order of the PCI bus; None if ``nvidia-smi`` does not describe each of them.

    It does not if it is missing or old, or if a GPU is in MIG mode or shares memory with the CPU.
    """
    try:
        answer = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_DRIVER_TIMEOUT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    devices = [_parse(line) for line in answer.stdout.splitlines()]
    described = tuple(device for device in devices if device is not None)
    return described if len(described) == len(devices) else None


def _parse(line: str) -> Device | None:
    """The GPU of a line such as ``NVIDIA L4, GPU-5b2c..., 23034, 22562, 8.9, [N/A]``; None if the
    line lacks a number, or in MIG mode."""
    try:
        name, uuid, total, free, capability, mig = (part.strip() for part in line.rsplit(",", 5))
        gpu = Device(
            name=name,
            free_gib=float(free) / 1024,
            total_gib=float(total) / 1024,
            capability=float(capability),
            handle=uuid,
        )
    except ValueError:
        return None
    return None if mig == "Enabled" else gpu


@cache
def _from_torch(chosen: tuple[str, ...] | None) -> tuple[Device, ...]:
    """The GPUs that torch finds in a child process, which takes seconds.

    Each MIG device has its own child, since a process sees one at most.
    """
    groups = [chosen or ()]
    if chosen and chosen[0].startswith("MIG-"):
        groups = [(part,) for part in chosen]
    return tuple(gpu for group in groups for gpu in _group_from_torch(group))


def _group_from_torch(chosen: tuple[str, ...]) -> Iterator[Device]:
    request = Visible(chosen=chosen)
    try:
        devices = in_child(
            _DETECT_WITH_TORCH,
            request,
            Devices,
            what="looking for GPUs",
            seconds=_TORCH_TIMEOUT_SECONDS,
        )
    except (OSError, SweeperError):
        return
    for number, gpu in enumerate(devices.gpus):
        handle = chosen[number] if number < len(chosen) else str(number)
        yield gpu.model_copy(update={"handle": handle})


def flash_attention(capability: float) -> Literal[2, 3] | None:
    """The version of an installed FlashAttention that supports this compute capability, or None."""
    if 9.0 <= capability < 10.0 and find_spec("flash_attn_interface"):
        return 3
    return 2 if capability >= 8.0 and find_spec("flash_attn") else None


def joins_rows(capability: float) -> bool:
    """Whether rows can be joined (packed) without padding on GPUs of this capability: a kernel for
    it is installed, torch's own or FlashAttention's."""
    torch = find_spec("torch")
    folders = (torch and torch.submodule_search_locations) or ()
    torch_has_kernel = any(Path(folder, "nn/attention/varlen.py").is_file() for folder in folders)
    return flash_attention(capability) is not None or (
        torch_has_kernel and capability >= BF16_CAPABILITY
    )


def fused_kernels(capability: float) -> bool:
    """Whether liger-kernel is installed, and runs on GPUs of this capability."""
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
    """The number of processors that a container may use, rounded; None without a limit."""
    words = _cgroup("cpu.max")
    if len(words) == 2 and all(word.isdigit() for word in words):
        quota, period = map(int, words)
        return max(1, round(quota / period)) if period else None
    return None


def hardware_facts(spec: HardwareSpec, *, for_run: bool = False) -> HardwareFacts:
    """The facts about the machine of a spec. A stated GPU takes precedence over detected ones.

    Args:
        for_run: Whether a run follows, so that the GPU may be checked first (``parts.HARDWARE``).

    Raises:
        UsageError: A GPU is unknown or ambiguous, or GPUs are requested and there are none.
    """
    if spec.gpu is not None:
        gpu = gpus.by_name(spec.gpu)
        return _stated_hardware(spec, gpu, gpu.name, spec.gpu_memory_gib or gpu.memory_gib)
    if spec.gpu_memory_gib is not None:
        gpu, cards = gpus.typical(spec.gpu_memory_gib)
        name = f"{gpu.name} ({_range_of(cards)})"
        facts = _stated_hardware(spec, gpu, name, spec.gpu_memory_gib)
        return facts.model_copy(update={"cards": tuple(map(CardFacts.taken_from, cards))})
    if detected := detected_gpus():
        facts = _detected_hardware(spec, detected)
        for _, without_failed_abilities in parts.HARDWARE.all():
            facts = without_failed_abilities(facts, for_run)
        return facts
    if spec.gpus is not None or spec.nodes > 1:
        raise UsageError(
            "GPUs are requested, but this machine has none",
            fix="Name it with --gpu NAME or --gpu-memory GIB. On a CPU, leave --gpus out.",
            where="--gpus" if spec.gpus is not None else "--nodes",
        )
    return _this_cpu(spec)


def needs_calibration(facts: HardwareFacts) -> bool:
    """Whether trials will run on this processor, and its speed has not been measured."""
    return facts.device == "cpu" and facts.detected and facts.calibrated is None


def _stated_hardware(spec: HardwareSpec, gpu: Gpu, name: str, memory_gib: float) -> HardwareFacts:
    return HardwareFacts.taken_from(
        gpu,
        device="cuda",
        name=name,
        detected=False,
        gpus=(spec.gpus or 1) * spec.nodes,
        nodes=spec.nodes,
        memory_gib=memory_gib,
        bf16=gpu.bf16_tflops is not None,
        price_per_gpu_hour=spec.price_per_gpu_hour,
    )


def _detected_hardware(spec: HardwareSpec, detected: tuple[Device, ...]) -> HardwareFacts:
    """The facts about detected GPUs. If they differ, the smallest decides what fits."""
    device = min(detected, key=lambda gpu: gpu.free_gib)
    gpu, name = gpus.find_unambiguous(device.name), device.name
    similar: tuple[CardFacts, ...] = ()
    if gpu is None:
        gpu, cards = gpus.typical(device.free_gib)
        similar = tuple(map(CardFacts.taken_from, cards))
        name = f"{name}{TIMES_OF}{_range_of(cards)})"  # TIMES_OF opens the bracket
    cpu, bf16 = processor(), all(gpu.bf16 for gpu in detected)
    capability = min(gpu.capability for gpu in detected)
    facts = _stated_hardware(spec, gpu, name, device.free_gib)
    return facts.model_copy(
        update={
            "detected": True,
            "cards": similar,
            "gpus": (spec.gpus or len(detected)) * spec.nodes,
            "bf16": bf16,
            "bf16_tflops": gpu.bf16_tflops if bf16 else None,
            "cpu_cores": cpu.cores,
            "ram_gib": cpu.memory_gib,
            "flash_attention": flash_attention(capability),
            "joins_rows": joins_rows(capability),
            "fused_kernels": fused_kernels(capability),
        }
    )


def _range_of(cards: Sequence[Gpu]) -> str:
    """The names of the slowest and the fastest of these GPUs."""
    return " to ".join(dict.fromkeys((cards[0].name, cards[-1].name)))


def _this_cpu(spec: HardwareSpec) -> HardwareFacts:
    """The facts about this processor, with its speed if it was calibrated."""
    cpu = processor()
    measured = read_calibration(cpu.name, cpu.cores)
    return HardwareFacts(
        device="cpu",
        name=cpu.name,
        detected=True,
        gpus=0,
        memory_gib=cpu.memory_gib,
        bf16=cpu.bf16,
        fp32_tflops=measured.fp32_gflops / 1000 if measured else None,
        calibrated=measured.when if measured else None,
        bandwidth_gb_per_second=measured.bandwidth_gb_per_second if measured else None,
        cpu_cores=cpu.cores,
        ram_gib=cpu.memory_gib,
        price_per_gpu_hour=spec.price_per_gpu_hour,
    )
