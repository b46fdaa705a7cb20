"""The resources that a worker requests from Ray, from the plan's predictions.

All workers ask for the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.execution.pools.placement import Demand, demand_of, machine_of
from sweeper.plans import Plan

# Ray counts in ten-thousandths, and so must who reckons how many thirds of a GPU there are.
_GRAIN = 1e-4


@dataclass(frozen=True)
class Request:
    """The resources of one worker.

    Args:
        gpus: Several for a trial that takes several; below 1 where trials share one.
    """

    cpus: int
    gpus: float
    memory_bytes: int

    @property
    def together(self) -> bool:
        """Whether the GPUs must be reserved together: one trial takes several, on one node."""
        return self.gpus > 1

    def options(self) -> dict[str, Any]:
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory_bytes}

    def bundle(self) -> dict[str, float]:
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return {name: size for name, size in named.items() if size}

    def fitting(self, node: Mapping[str, float]) -> int:
        shares = [node.get(name, 0.0) / size for name, size in self.bundle().items()]
        return min(math.floor(share + _GRAIN) for share in shares)

    def __str__(self) -> str:
        return words_of(self.bundle())


def words_of(resources: Mapping[str, float]) -> str:
    """Cores, GPUs and memory of a node or of a worker, as text."""
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    memory = resources.get("memory", 0.0) / 2**30
    return f"{_counted(cpus, 'CPU')}, {_counted(gpus, 'GPU')} and {memory:.1f} GiB of memory"


def _counted(count: float, name: str) -> str:
    return f"{count:.3g} {name}{'' if count == 1 else 's'}"


def request_for(plan: Plan, workers: int, nodes: Sequence[Mapping[str, float]]) -> Request:
    """Cores, GPUs and main memory of one worker.

    As ``place`` does on one machine, workers are spread over nodes and GPUs before a second one
    joins any, and share a GPU, or the memory of a node without one, only where the dearest trials
    fit side by side.

    Args:
        plan: Its hardware is that of one node.
        nodes: Resources of those that the cluster has now. Where none can train, a later one is
            taken to be as the plan says.
    """
    demand, machine = demand_of(plan), machine_of(plan)
    hardware = plan.facts.hardware
    if hardware.gpus == 0:
        training = [node for node in nodes if node.get("CPU", 0.0) >= 1]
        on_one_node = _beside(workers, len(training), machine.memory_gib, demand)
        memory = int(demand.peak_gib * 2**30)
        return Request(_cpus(machine.cores, training, on_one_node), 0, memory)
    training = [node for node in nodes if node.get("GPU", 0.0) >= demand.gpus]
    on_node = [int(node["GPU"]) for node in training]
    on_node = on_node or [max(1, hardware.gpus // hardware.nodes)]
    memory = int(_weights_gib(plan) * 2**30)
    if demand.gpus > 1:
        on_one_node = max(1, max(on_node) // demand.gpus)
        return Request(_cpus(machine.cores, training, on_one_node), demand.gpus, memory)
    sharing = _beside(workers, sum(on_node), machine.memory_gib, demand)
    cpus = _cpus(machine.cores, training, max(on_node) * sharing)
    return Request(cpus, 1 / sharing, memory)


def _beside(workers: int, places: int, memory_gib: float, demand: Demand) -> int:
    """How many workers share one of so many places with so much memory."""
    fit = int(memory_gib / demand.peak_gib) if demand.peak_gib > 0 else workers
    return max(1, min(fit, math.ceil(workers / max(1, places))))


def _cpus(cores: int, nodes: Sequence[Mapping[str, float]], on_one_node: int) -> int:
    """Cores for each of so many workers on a node; a cluster may offer fewer than there are."""
    offered = min((int(node.get("CPU", 0.0)) for node in nodes), default=cores)
    return max(1, min(cores, offered) // on_one_node)


def _weights_gib(plan: Plan) -> float:
    # Weights are read into main memory before they move to the GPU.
    return max(each.memory.parts.get("weights", 0.0) for each in plan.candidates)
