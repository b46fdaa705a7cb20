"""Placement of workers: the GPUs and threads of each, and how many of them fit.

``place`` is pure; ``machine_of`` looks at this machine. Nothing is started here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sweeper.child_process import GPU_SHARE, thread_settings
from sweeper.errors import Problem
from sweeper.facts.machine.hardware import VISIBLE, Device, detected_gpus, processor
from sweeper.facts.record import HardwareFacts
from sweeper.plans import Plan

# A GPU matches the plan with at least this share of the planned memory: GPUs report a little less
# than their data sheet.
_MIN_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Machine:
    """The resources of a machine that workers share.

    Args:
        gpus: Names of the usable GPUs in ``CUDA_VISIBLE_DEVICES``.
        memory_gib: GiB that training may use: of one GPU, or main memory if there is no GPU.
    """

    gpus: tuple[str, ...]
    memory_gib: float
    cores: int


@dataclass(frozen=True)
class Demand:
    """The most that one trial of any candidate may need.

    Args:
        peak_gib: Upper end of the predicted peak memory of one device.
        strategy: The strategy whose trials need the most memory.
        gpus_strategy: The strategy whose trials take the most GPUs.
    """

    peak_gib: float
    gpus: int = 1
    strategy: str = ""
    gpus_strategy: str = ""


def place(workers: int, machine: Machine, demand: Demand) -> tuple[list[dict[str, str]], str]:
    """Divide the machine among workers, GPU by GPU and core by core.

    Workers are spread over the GPUs before two share one; they share one only if two trials of the
    largest memory demand fit together. One worker is always started, and its trial may run out of
    memory.

    Returns:
        Environment variables of each worker, and why there are fewer workers than requested; empty
        if there are as many.
    """
    groups = _groups(machine, demand)
    limit = max(1, len(groups)) * _workers_per_group(machine, demand)
    started = min(workers, limit)
    threads = thread_settings(max(1, machine.cores // started))
    environments = [{**threads, **_gpu_settings(groups, n, started)} for n in range(started)]
    return environments, _note(workers, started, machine, demand)


def _groups(machine: Machine, demand: Demand) -> list[tuple[str, ...]]:
    """The GPUs in groups for one trial each; remaining GPUs stay idle."""
    size = min(demand.gpus, len(machine.gpus))
    if size == 0:
        return []
    ends = range(size, len(machine.gpus) + 1, size)
    return [machine.gpus[end - size : end] for end in ends]


def _workers_per_group(machine: Machine, demand: Demand) -> int:
    """Workers on one group of GPUs, or in main memory; one if trials take several GPUs."""
    if demand.gpus > 1 and machine.gpus:
        return 1
    return max(1, int(machine.memory_gib / demand.peak_gib)) if demand.peak_gib > 0 else 1


def _gpu_settings(groups: list[tuple[str, ...]], worker: int, workers: int) -> dict[str, str]:
    """Environment variables that give a worker its GPUs, and its share of one."""
    if not groups:
        return {}
    group = worker % len(groups)
    workers_on_group = len(range(group, workers, len(groups)))
    share = {GPU_SHARE: f"{1 / workers_on_group:.4f}"} if workers_on_group > 1 else {}
    return {VISIBLE: ",".join(groups[group]), **share}


def _note(workers: int, started: int, machine: Machine, demand: Demand) -> str:
    """Why fewer workers than requested are started; empty if all are."""
    if started == workers:
        return ""
    plural = "" if started == 1 else "s"
    head = f"{started} worker{plural} instead of {workers}: "
    if machine.gpus and demand.gpus > 1:
        return head + (
            f"a {demand.gpus_strategy} trial takes {demand.gpus} GPUs, "
            f"and there are {len(machine.gpus)}"
        )
    count, resource = len(machine.gpus), "the machine has"
    if count:
        resource = "the GPU has" if count == 1 else f"each of the {count} GPUs has"
    return head + (
        f"a {demand.strategy} trial may need {demand.peak_gib:.1f} GiB, and {resource} "
        f"{machine.memory_gib:.1f} GiB for training"
    )


def demand_of(plan: Plan) -> Demand:
    """The most that any candidate of a plan may need."""
    largest = max(plan.candidates, key=lambda candidate: candidate.memory.high_gib)
    widest = max(plan.candidates, key=lambda candidate: candidate.setup.gpus)
    return Demand(largest.memory.high_gib, widest.setup.gpus, largest.strategy, widest.strategy)


def machine_of(plan: Plan) -> Machine:
    """This machine, with the memory for training that the plan assumed."""
    limit = max(each.memory.limit_gib for each in plan.candidates)
    return Machine(_gpu_names(plan), limit, plan.facts.hardware.cpu_cores or processor().cores)


def mismatch(hardware: HardwareFacts, device: Device) -> Problem | None:
    """Why the device of a worker does not match the plan's hardware; None if it does."""
    planned = f"The plan is for {hardware.name}, {hardware.memory_gib:.1f} GiB."
    new_plan = "Plan for this device: give the same command with --new."
    if hardware.device == "cpu" and device.kind == "cuda":
        what = f"training would run on a GPU ({device.name}), which the plan did not see"
        return Problem(
            what, planned, f"{new_plan} Or hide the GPU: set {VISIBLE} to an empty value."
        )
    if hardware.device == "cuda" and device.kind == "cpu":
        what = f"torch {device.torch} sees no GPU"
        fix = "Install a build of torch for this GPU: see docs/troubleshooting.md."
        return Problem(
            what, planned, f"{fix} Or plan for the CPU: --new, and an empty value of {VISIBLE}."
        )
    device_text = f"training would run on {device.name}, {device.total_gib:.1f} GiB"
    if hardware.device == "cuda" and device.total_gib < _MIN_MEMORY_SHARE * hardware.memory_gib:
        return Problem(device_text, planned, new_plan)
    if hardware.device == "cuda" and hardware.bf16 and not device.bf16:
        return Problem(f"{device_text}, which has no bfloat16", planned, new_plan)
    return None


def _gpu_names(plan: Plan) -> tuple[str, ...]:
    """Names of the plan's GPUs on this machine, as in ``CUDA_VISIBLE_DEVICES``."""
    hardware = plan.facts.hardware
    if hardware.gpus == 0:
        return ()
    count = max(1, hardware.gpus // hardware.nodes)
    detected = [gpu.handle for gpu in detected_gpus()]
    if not detected:  # the user stated GPUs (--gpu), but none is detected here
        named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",")]
        detected = [name for name in named if name] or [str(number) for number in range(count)]
    return tuple(detected[:count])  # fewer if the plan is for another machine
