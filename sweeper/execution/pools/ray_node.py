"""Runs a module of sweeper on a node that will train, to read its hardware."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from sweeper.errors import RunError
from sweeper.execution.pools import ray_cluster
from sweeper.execution.pools.placement import GPUS
from sweeper.execution.pools.ray_request import Request
from sweeper.extras import install_command

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class NodeAnswer:
    """The output of a module on a node."""

    host: str
    status: int
    out: str
    errors: str


def on_node(
    module: str, text: str, *, address: str | None, gpu: bool, say: Callable[[str], None]
) -> NodeAnswer:
    """Run a module on a node where workers will run, beside one of its GPUs if nodes have any.

    Args:
        module: Run with ``python -m``; its only argument is how many GPUs the node has.
        address: The cluster; see ``ray_cluster.join``.
        gpu: Whether a node with a GPU is wanted even where there is none yet.
        say: Called with a line if there is no room for long.

    Raises:
        RunError: The cluster cannot be reached, no node has room for it, or it failed.
    """
    ray_cluster.join(address)
    gpu = gpu or any(node.resources.get("GPU", 0.0) >= 1 for node in ray_cluster.nodes())
    request = Request(cpus=1, gpus=int(gpu), memory_bytes=0)
    ray_cluster.carried(request, "a measurement of what it can do")
    task: Any = ray.remote(_run).options(max_retries=0, **request.options())
    answer = task.remote(module, text, str(Path.cwd()))
    _wait(answer, request, say)
    try:
        found = NodeAnswer(*ray.get(answer))
    except RayError as error:
        raise _failed("a node", str(error)) from error
    if found.status != 0:
        raise _failed(found.host, found.errors)
    return found


def _run(module: str, text: str, directory: str) -> tuple[str, int, str, str]:
    own = ray_cluster.own_node()
    (node,) = (node for node in ray_cluster.nodes() if node.name == own)
    gpus = int(node.resources.get("GPU", 0.0))
    done = subprocess.run(
        [sys.executable, "-m", module, str(gpus)],
        input=text,
        capture_output=True,
        text=True,
        cwd=directory if Path(directory).is_dir() else None,
        env=os.environ if gpus else {**os.environ, GPUS: ""},
        check=False,
    )
    return node.host, done.returncode, done.stdout, done.stderr


def _wait(answer: Any, request: Request, say: Callable[[str], None]) -> None:
    began, told = time.monotonic(), False
    while not ray.wait([answer], timeout=_LOOK_SECONDS)[0]:
        if not told and time.monotonic() - began > ray_cluster.WAIT_SECONDS:
            told = True
            say(f"Waiting for an answer from a node of the Ray cluster with room for {request}.")


def _failed(host: str, why: str) -> RunError:
    lines = [line for line in why.splitlines() if line.strip()]
    return RunError(
        f"{host} of the Ray cluster cannot be measured",
        why=lines[-1] if lines else "It gave no reason.",
        fix="Each node needs sweeper, in the command's version, and what training needs: "
        f"{install_command('train', 'ray')}. Or say what nodes have: --gpu NAME.",
        where="--executor ray",
    )
