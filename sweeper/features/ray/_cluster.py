"""Joins a Ray cluster, or starts Ray on this machine alone, and lists the nodes."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants
from ray._private import worker as ray_worker

from sweeper.errors import RunError
from sweeper.features.ray._request import Request, resource_text

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
        RunError: It is gone, so Ray would never place a request through it.
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


def workers_that_fit(request: Request, what: str) -> int:
    """Number of workers with this request that fit on the living nodes, if these are idle.

    Args:
        what: Name of the requested thing in the error's text.

    Raises:
        RunError: None fits, and no autoscaler starts larger nodes.
    """
    nodes_alive = nodes()
    count = sum(request.fitting(node.resources) for node in nodes_alive)
    if count or has_autoscaler():
        return count
    largest = max(
        (node.resources for node in nodes_alive),
        key=lambda has: [has.get(name, 0.0) for name in ("GPU", "CPU", "memory")],
        default={},
    )
    raise RunError(
        f"no node of the Ray cluster has room for {what}, and no autoscaler starts others",
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
        with _keep_signal_handlers():
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
    # If nothing listens, Ray tries for more than two minutes and prints to the terminal.
    if address.startswith("ray://"):
        raise ValueError("Ray Client is not supported: give the command on a node of the cluster.")
    host, _, port = address.rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _private_folder() -> str:
    """A new folder for Ray's logs and sockets that only this user can enter.

    Within Ray's folder, Ray and its workers let all users read and write.
    """
    root = get_default_system_temp_dir()  # type: ignore[no-untyped-call]
    return str(Path(tempfile.mkdtemp("", "sweeper-", root), "ray"))


def _start_here() -> None:
    # Ray starts its workers at a niceness of 15: with other work on the machine, they starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Other users of this machine reach the loopback address too. Ray 2.60 requires a
    # token, but writes its own into the home folder, readable for all.
    if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Whoever reaches Ray's ports may run code as this user. Ray listens to all networks, and turns
    # a loopback address that it is given into an outer one, unless this constant says that
    # the machine never belongs to a cluster (services.get_node_ip_address of Ray 2.60).
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
def _keep_signal_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on future changes of Ray
            yield
    finally:
        for number, handler in handlers.items():  # Ray takes TERM for itself
            signal.signal(number, handler)
