"""Where workers run: which GPUs and how many threads each of them gets, and how many fit.

Pure: it computes from the machine's and the plan's numbers, and starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sweeper.child_process import quiet_threads
from sweeper.facts.machine.detect_hardware import detected_gpus, processor
from sweeper.plans import Plan

# The variable by which CUDA shows a process some of the GPUs, before it is loaded.
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Machine:
    """What workers share.

    Args:
        gpus: What ``CUDA_VISIBLE_DEVICES`` calls each GPU that may be used.
        memory_gib: Memory that training may use: of one GPU, without GPUs of the machine.
    """

    gpus: tuple[str, ...]
    memory_gib: float
    cores: int


@dataclass(frozen=True)
class Demand:
    """The most that one trial of any candidate may need.

    Args:
        peak_gib: Upper end of the predicted peak memory of one device.
        strategy: The candidate that needs the most memory.
    """

    peak_gib: float
    gpus: int = 1
    strategy: str = ""


def place(workers: int, machine: Machine, demand: Demand) -> tuple[list[dict[str, str]], str]:
    """Divide the machine among workers, GPU by GPU and core by core.

    Workers are spread over the GPUs before a second one joins any; they share one only where the
    dearest trials fit side by side. One is always started: its own memory guard deals with the
    rest.

    Returns:
        What each worker that will be started gets in its environment; and why there are fewer than
        asked for, empty if there are as many.
    """
    groups = _groups(machine, demand)
    limit = max(1, len(groups)) * _at_once(machine, demand)
    started = min(workers, limit)
    threads = quiet_threads(max(1, machine.cores // started))
    environments = [{**threads, **_gpus(groups, number)} for number in range(started)]
    return environments, _note(workers, started, machine, demand)


def _groups(machine: Machine, demand: Demand) -> list[tuple[str, ...]]:
    """The GPUs in groups that one trial takes; those left over stay idle."""
    size = min(demand.gpus, len(machine.gpus))
    if size == 0:
        return []
    ends = range(size, len(machine.gpus) + 1, size)
    return [machine.gpus[end - size : end] for end in ends]


def _at_once(machine: Machine, demand: Demand) -> int:
    """Workers on one group of GPUs, or in the main memory. A trial on several GPUs is alone."""
    if demand.gpus > 1 and machine.gpus:
        return 1
    return max(1, int(machine.memory_gib / demand.peak_gib)) if demand.peak_gib > 0 else 1


def _gpus(groups: list[tuple[str, ...]], number: int) -> dict[str, str]:
    if not groups:
        return {}
    return {GPUS: ",".join(groups[number % len(groups)])}


def _note(workers: int, started: int, machine: Machine, demand: Demand) -> str:
    if started == workers:
        return ""
    plural = "" if started == 1 else "s"
    head = f"{started} worker{plural} instead of {workers}: "
    if machine.gpus and demand.gpus > 1:
        return head + (
            f"a {demand.strategy} trial takes {demand.gpus} GPUs, and there are {len(machine.gpus)}"
        )
    count, place = len(machine.gpus), "the machine has"
    if count:
        place = "the GPU has" if count == 1 else f"each of the {count} GPUs has"
    return head + (
        f"a {demand.strategy} trial may need {demand.peak_gib:.1f} GiB, and {place} "
        f"{machine.memory_gib:.1f} GiB for training"
    )


def demand_of(plan: Plan) -> Demand:
    """The most that any candidate of a plan may need."""
    dearest = max(plan.candidates, key=lambda each: each.memory.high_gib)
    gpus = max(each.gpus for each in plan.candidates)
    return Demand(dearest.memory.high_gib, gpus, dearest.strategy)


def machine_of(plan: Plan) -> Machine:
    """This machine, with as much memory for training as the plan reckoned with."""
    limit = max(each.memory.limit_gib for each in plan.candidates)
    return Machine(_visible(plan), limit, plan.facts.hardware.cpu_cores or processor().cores)


def _visible(plan: Plan) -> tuple[str, ...]:
    if plan.facts.hardware.gpus == 0:
        return ()
    hardware = plan.facts.hardware  # detected may be fewer, where the plan was for another machine
    count = min(len(detected_gpus()), max(1, hardware.gpus // hardware.nodes))
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",")]
    names = [name for name in named if name] or [str(number) for number in range(count)]
    return tuple(names[:count])
