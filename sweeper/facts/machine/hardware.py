"""Facts about the machine that trials run on: the stated or detected GPUs, else this CPU."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.errors import UsageError
from sweeper.facts.machine import calibration, gpus
from sweeper.facts.machine.detect_hardware import (
    DetectedGpu,
    detected_gpus,
    flash_attention,
    fused_kernels,
    joins_rows,
    processor,
)
from sweeper.facts.machine.gpus import Gpu
from sweeper.facts.machine.measured import SPEED_OF
from sweeper.facts.record import CardFacts, HardwareFacts
from sweeper.features import parts
from sweeper.spec import HardwareSpec


def hardware_facts(spec: HardwareSpec, *, for_run: bool = False) -> HardwareFacts:
    """The machine of a spec. A stated GPU takes precedence over detected ones.

    Args:
        for_run: Whether a run follows, so that features may test what works on the GPU.

    Raises:
        UsageError: A GPU is unknown or ambiguous, or GPUs are requested but not there.
    """
    if spec.gpu is not None:
        gpu = gpus.by_name(spec.gpu)
        return _stated_hardware(spec, gpu, gpu.name, spec.gpu_memory_gib or gpu.memory_gib)
    if spec.gpu_memory_gib is not None:
        gpu, cards = gpus.typical(spec.gpu_memory_gib)
        name = f"{gpu.name} ({_range_of(cards)})"
        facts = _stated_hardware(spec, gpu, name, spec.gpu_memory_gib)
        return facts.model_copy(update={"cards": _speeds(cards)})
    if detected := detected_gpus():
        facts = _detected_hardware(spec, detected)
        for _, without_faults in parts.HARDWARE.all():
            facts = without_faults(facts, for_run)
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
    return HardwareFacts(
        device="cuda",
        name=name,
        detected=False,
        gpus=(spec.gpus or 1) * spec.nodes,
        nodes=spec.nodes,
        memory_gib=memory_gib,
        bf16=gpu.bf16_tflops is not None,
        bandwidth_gb_per_second=gpu.bandwidth,
        bf16_tflops=gpu.bf16_tflops,
        fp16_tflops=gpu.fp16_tflops,
        fp32_tflops=gpu.fp32_tflops,
        price_per_gpu_hour=spec.price_per_gpu_hour,
    )


def _detected_hardware(spec: HardwareSpec, detected: tuple[DetectedGpu, ...]) -> HardwareFacts:
    """The facts about detected GPUs. If they differ, the smallest decides what fits."""
    device = min(detected, key=lambda gpu: gpu.memory_gib)
    gpu, name = _in_table(device), device.name
    similar: tuple[CardFacts, ...] = ()
    if gpu is None:
        gpu, cards = gpus.typical(device.memory_gib)
        similar = _speeds(cards)
        name = f"{name}{SPEED_OF}{_range_of(cards)})"
    cpu, bf16 = processor(), all(gpu.bf16 for gpu in detected)
    capability = min(gpu.capability for gpu in detected)
    facts = _stated_hardware(spec, gpu, name, device.memory_gib)
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


def _speeds(cards: Sequence[Gpu]) -> tuple[CardFacts, ...]:
    return tuple(
        CardFacts(
            name=card.name,
            bandwidth_gb_per_second=card.bandwidth,
            bf16_tflops=card.bf16_tflops,
            fp32_tflops=card.fp32_tflops,
        )
        for card in cards
    )


def _in_table(device: DetectedGpu) -> Gpu | None:
    try:
        return gpus.find(device.name)
    except UsageError:  # the driver's name fits several GPUs
        return None


def _this_cpu(spec: HardwareSpec) -> HardwareFacts:
    """The facts about this processor, with its speed if it was calibrated."""
    cpu = processor()
    measured = calibration.read(cpu.name, cpu.cores)
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
