"""The resources that a worker requests from Ray, from the plan's predictions.

All workers request the same resources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.execution.pools.placement import Demand, demand_of, machine_of
from sweeper.plans import Plan

# Ray's resolution: it counts resources in ten-thousandths.
_RESOURCE_STEP = 1e-4


@dataclass(frozen=True)
class Request:
    """The resources of one worker.

    Args:
        gpus: Number of GPUs; below 1 if workers share one.
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
        sizes = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return {name: size for name, size in sizes.items() if size}

    def fitting(self, node: Mapping[str, float]) -> int:
        shares = [node.get(name, 0.0) / size for name, size in self.bundle().items()]
        return min(math.floor(share + _RESOURCE_STEP) for share in shares)

    def __str__(self) -> str:
        return resource_text(self.bundle())


def resource_text(resources: Mapping[str, float]) -> str:
    """Cores, GPUs and memory of a node or of a worker, as text."""
    cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
    memory = resources.get("memory", 0.0) / 2**30
    return f"{_count_text(cpus, 'CPU')}, {_count_text(gpus, 'GPU')} and {memory:.1f} GiB of memory"


def _count_text(count: float, name: str) -> str:
    return f"{count:.3g} {name}{'' if count == 1 else 's'}"


def request_for(plan: Plan, workers: int, nodes: Sequence[Mapping[str, float]]) -> Request:
    """Cores, GPUs and main memory of one worker.

    As ``place`` does on one machine, workers are spread over nodes and GPUs before a second one
    joins any. They share a GPU, or the memory of a node without one, only if trials of the largest
    memory demand fit together.

    Args:
        plan: A plan for the hardware of one node.
        nodes: Resources of the cluster's nodes. If none can train, nodes that join later are
            assumed to be as planned.
    """
    demand, machine = demand_of(plan), machine_of(plan)
    hardware = plan.facts.hardware
    if hardware.gpus == 0:
        training_nodes = [node for node in nodes if node.get("CPU", 0.0) >= 1]
        workers_on_node = _workers_per_place(
            workers, len(training_nodes), machine.memory_gib, demand
        )
        memory = int(demand.peak_gib * 2**30)
        return Request(_cpus(machine.cores, training_nodes, workers_on_node), 0, memory)
    training_nodes = [node for node in nodes if node.get("GPU", 0.0) >= demand.gpus]
    gpus_on_nodes = [int(node["GPU"]) for node in training_nodes]
    gpus_on_nodes = gpus_on_nodes or [max(1, hardware.gpus // hardware.nodes)]
    # Weights are read into main memory before they move to the GPU.
    weights_gib = max(candidate.memory.parts.get("weights", 0.0) for candidate in plan.candidates)
    memory = int(weights_gib * 2**30)
    if demand.gpus > 1:
        workers_on_node = max(1, max(gpus_on_nodes) // demand.gpus)
        return Request(_cpus(machine.cores, training_nodes, workers_on_node), demand.gpus, memory)
    workers_per_gpu = _workers_per_place(workers, sum(gpus_on_nodes), machine.memory_gib, demand)
    cpus = _cpus(machine.cores, training_nodes, max(gpus_on_nodes) * workers_per_gpu)
    return Request(cpus, 1 / workers_per_gpu, memory)


def _workers_per_place(workers: int, places: int, memory_gib: float, demand: Demand) -> int:
    """Workers in one place, which is a GPU, or a node without one, and has ``memory_gib``."""
    fitting_workers = int(memory_gib / demand.peak_gib) if demand.peak_gib > 0 else workers
    return max(1, min(fitting_workers, math.ceil(workers / max(1, places))))


def _cpus(cores: int, nodes: Sequence[Mapping[str, float]], workers: int) -> int:
    """Cores for each of the workers on a node; some nodes may offer fewer than planned."""
    offered = min((int(node.get("CPU", 0.0)) for node in nodes), default=cores)
    return max(1, min(cores, offered) // workers)
