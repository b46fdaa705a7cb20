"""What a worker asks a Ray cluster for."""

from __future__ import annotations

import pytest
from curve_backend import make_plan, on_gpus

from sweeper.features.ray._cluster import Request, request_for
from sweeper.plans import Plan

GIB = 2**30


def on_cores(count: int) -> Plan:
    plan = make_plan()
    hardware = plan.facts.hardware.model_copy(update={"cpu_cores": count})
    return plan.model_copy(update={"facts": plan.facts.model_copy(update={"hardware": hardware})})


def node(cpus: float, gpus: float = 0, gib: float = 64) -> dict[str, float]:
    named = {"CPU": cpus, "GPU": gpus, "memory": gib * GIB}
    return {name: float(size) for name, size in named.items() if size}


@pytest.mark.parametrize(
    ("workers", "nodes", "cpus"),
    [
        (1, [node(8)], 8),
        (2, [node(8)], 4),
        (2, [node(8), node(8)], 8),  # spread over the nodes before a second one joins any
        (9, [node(8)], 2),  # four trials of 2 GiB fit side by side in 8
        (2, [node(1)], 1),  # a cluster may offer less than the machine has
        (2, [node(0), node(8), node(8)], 8),  # a head that does no work
        (3, [], 2),  # nodes are still to come
    ],
)
def test_workers_on_processors_share_nodes_and_ask_for_the_predicted_peak(
    workers: int, nodes: list[dict[str, float]], cpus: int
) -> None:
    assert request_for(on_cores(8), workers, nodes) == Request(cpus, 0, 2 * GIB)


@pytest.mark.parametrize(
    ("per_trial", "workers", "nodes", "gpus", "cpus"),
    [
        (1, 2, [node(16, 2)], 1, 8),  # a GPU each, as long as there are enough
        (1, 4, [node(16, 2)], 0.5, 4),
        (1, 99, [node(16, 2)], 0.25, 2),  # four trials of 2 GiB fit on 8
        (1, 4, [node(16, 2), node(16, 2), node(16)], 1, 8),
        (1, 4, [node(16)], 0.5, 4),  # none yet: as the plan says
        (2, 4, [node(16, 4)], 2, 8),
        (2, 4, [node(16, 1)], 2, 16),
    ],
)
def test_workers_share_a_gpu_only_where_there_are_more_than_gpus(
    per_trial: int, workers: int, nodes: list[dict[str, float]], gpus: float, cpus: int
) -> None:
    request = request_for(on_gpus(2, per_trial), workers, nodes)
    assert request == Request(cpus, gpus, int(1.5 * GIB))
    assert request.has_several_gpus is (per_trial > 1)


@pytest.mark.parametrize(
    ("has", "carried"),
    [
        (node(8, 1), 2),
        (node(3, 4), 1),
        (node(8), 0),
        (node(8, 4, 3), 1),
    ],
)
def test_a_node_carries_as_many_as_its_scarcest_resource_allows(
    has: dict[str, float], carried: int
) -> None:
    assert Request(cpus=2, gpus=0.5, memory_bytes=2 * GIB).fitting(has) == carried


def test_every_share_of_a_gpu_is_found_again() -> None:
    for count in range(1, 200):
        assert Request(cpus=1, gpus=1 / count, memory_bytes=0).fitting(node(999, 1)) == count
