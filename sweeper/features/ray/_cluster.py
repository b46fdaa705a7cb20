"""Joins a Ray cluster, or starts Ray on this machine alone; its nodes and a worker's resources."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants
from ray._private import worker as ray_worker

from sweeper.errors import RunError
from sweeper.execution.pools.placement import Demand, demand_of, machine_of
from sweeper.plans import Plan

# Tolerance for rounded shares: Ray counts resources in ten-thousandths.
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
    def has_several_gpus(self) -> bool:
        """Whether a worker has several GPUs, which must be on one node."""
        return self.gpus > 1

    def options(self) -> dict[str, Any]:
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory_bytes}

    def bundle(self) -> dict[str, float]:
        sizes = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return {name: size for name, size in sizes.items() if size}

    def fitting(self, node: Mapping[str, float]) -> int:
        """Number of workers that fit on a node with these resources."""
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

    As by ``place`` on one machine, each node or GPU gets one worker before any gets a second.
    Workers share a GPU, or the memory of a node without one, only if trials of the largest
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
    """Workers on one GPU, or on one node without GPUs; ``memory_gib`` is its memory."""
    fitting_workers = int(memory_gib / demand.peak_gib) if demand.peak_gib > 0 else workers
    return max(1, min(fitting_workers, math.ceil(workers / max(1, places))))


def _cpus(cores: int, nodes: Sequence[Mapping[str, float]], workers: int) -> int:
    """Cores for each of the workers on a node; some nodes may offer fewer than planned."""
    offered = min((int(node.get("CPU", 0.0)) for node in nodes), default=cores)
    return max(1, min(cores, offered) // workers)


# Workers that Ray has not placed are reported after this time.
WAIT_SECONDS = 30.0
# The label with the group of a node that a cluster launcher or KubeRay has started. More nodes of
# the group may be started. Ray documents the label, but not how to see whether an autoscaler runs.
_GROUP_LABEL = "ray.io/node-group"
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Args:
        name: Ray's id of the node.
        resources: All its resources, in use or not.
        group: Node group from which it was started; empty without one.
    """

    name: str
    resources: dict[str, float]
    group: str = ""


def nodes() -> list[Node]:
    """The nodes that are alive now."""
    return [
        Node(
            node["NodeID"],
            dict(node["Resources"]),
            node.get("Labels", {}).get(_GROUP_LABEL, ""),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]


def check_connected(own: str) -> None:
    """Check that the node ``own``, to which this process is connected, is alive.

    Raises:
        RunError: The node is gone, so Ray would never place a worker.
    """
    if all(node.name != own for node in nodes()):
        raise RunError(
            "this machine is no longer part of the Ray cluster",
            why="Ray has stopped here, or the cluster has given this machine up.",
            fix="Start Ray again, then give the same command again: it resumes.",
            where="--executor ray",
        )


def has_autoscaler() -> bool:
    """Whether the cluster may start nodes by itself when a request does not fit."""
    return any(node.group for node in nodes())


def workers_that_fit(request: Request) -> int:
    """Number of workers with this request that fit on the living nodes if these are idle.

    Raises:
        RunError: None fits, and no autoscaler starts larger nodes.
    """
    nodes_alive = nodes()
    count = sum(request.fitting(node.resources) for node in nodes_alive)
    if count or has_autoscaler():
        return count
    largest = max(
        (node.resources for node in nodes_alive),
        key=lambda resources: [resources.get(name, 0.0) for name in ("GPU", "CPU", "memory")],
        default={},
    )
    raise RunError(
        "no node of the Ray cluster has room for a worker, and no autoscaler starts others",
        why=f"It asks for {request}; the largest node has {resource_text(largest)}.",
        fix="Add a node, or choose fewer or cheaper strategies (--strategies).",
        where="--executor ray",
    )


def join(requested: str | None) -> None:
    """Join the named cluster, or start Ray on this machine; once per process.

    Raises:
        RunError: The cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    address = requested or os.environ.get("RAY_ADDRESS") or None
    try:
        with _limit_side_effects():
            if address is None:
                _start_here()
            else:
                _check_reachable(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        # Ray prints node messages on standard output, whatever its log settings are.
        ray_worker.print_to_stdstream = lambda *_said, **_how: None
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            f"cannot reach the Ray cluster at {address or 'this machine'}",
            why=str(error).strip().splitlines()[0],
            fix="Start it with 'ray start --head', or leave --ray-address and RAY_ADDRESS out to "
            "use this machine alone.",
            where="--ray-address",
        ) from error


def _check_reachable(address: str) -> None:
    # Where nothing listens, Ray tries for more than two minutes and prints to the terminal.
    if address.startswith("ray://"):
        raise ValueError("Ray Client is not supported: give the command on a node of the cluster.")
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _private_folder() -> str:
    """A new folder for Ray's logs and sockets that only this user can enter.

    Files in Ray's usual folder can be read and written by all users.
    """
    root = get_default_system_temp_dir()  # type: ignore[no-untyped-call]
    return str(Path(tempfile.mkdtemp("", "sweeper-", root), "ray"))


def _start_here() -> None:
    # Ray starts its workers at a niceness of 15: with other work on the machine, they starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Other users of this machine reach the loopback address too. Ray 2.60 requires a token, but
    # stores its own one in the home folder, where all can read it.
    if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Whoever reaches Ray's ports may run code as this user. Ray listens on all networks, and
    # replaces a loopback address by an external one, unless ENABLE_RAY_CLUSTER is false
    # (services.get_node_ip_address of Ray 2.60).
    was_enabled = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local",
            _temp_dir=_private_folder(),
            _node_ip_address="127.0.0.1",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was_enabled


@contextlib.contextmanager
def _limit_side_effects() -> Iterator[None]:
    """Ignore Ray's FutureWarnings in the block, and restore the signal handlers after it.

    Ray sets one for TERM.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on future changes of Ray
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
