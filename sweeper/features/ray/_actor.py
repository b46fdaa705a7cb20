"""The actor that holds one worker: the same process that the local pool starts, on another machine.

The worker dies with its actor, however that ends. Everything that passes to and from the command
is bytes and plain values, so that an actor of another version of sweeper can be told from one that
is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import ray
from pydantic import ValidationError

import sweeper
from sweeper.execution.job import Briefing, Hello, line_of, read_order
from sweeper.execution.pools.local_pool import LocalPool
from sweeper.execution.pools.pool import WorkerGone
from sweeper.features.ray._run_check import RemoteBriefing, missing
from sweeper.runfolder import RunFolder

# How often a worker is looked at that keeps its pipe open and says nothing.
_LOOK_SECONDS = 0.1
# The command asks for messages without a pause, and each answer takes seconds at most. Where its
# node is gone, and the cluster's head with it, Ray itself notices after a minute or later.
_ALONE_SECONDS = 40.0

# Ray ends the processes below an actor before the actor itself, when the node goes down. An actor
# that still lives after this time was not meant.
_OUTLIVE_SECONDS = 2.0

# Lines of messages, and how the worker's process ended once it has: its status, and whether the
# system killed it for its memory.
Heard = tuple[list[bytes], tuple[int | None, bool] | None]


class WorkerActor:
    """One worker process, on the machine where Ray has placed this actor.

    All methods run on one thread, that of the actor's event loop: the worker is tied to the life of
    the thread that started it, and ``LocalPool`` belongs to one thread.

    Args:
        environment: What the worker gets besides the GPUs that Ray gave to this process.
    """

    def __init__(
        self, folder: str, briefing: str, name: str, environment: Mapping[str, str]
    ) -> None:
        # Ray sets the thread count too, by the CPUs it was asked for, but not how threads wait.
        os.environ.update(environment)
        self._run, self._briefing, self._name = RunFolder(Path(folder)), briefing, name
        self._pool: LocalPool | None = None
        self._refusal: Hello | None = None
        self._told_to_kill = False
        self._asked = time.monotonic()

    async def begin(self) -> str:
        """Start the worker, if this machine has the run's files.

        Returns:
            Ray's name of this node.
        """
        self._asked = time.monotonic()
        self._alone = asyncio.create_task(self._end_when_alone())
        problems = self._problems()
        if problems:
            # Without the folder there is no log, so the worker itself cannot say it.
            self._refusal = Hello(
                host=socket.gethostname(), process=os.getpid(), problems=tuple(problems)
            )
        else:
            remote = RemoteBriefing.model_validate_json(self._briefing)
            briefing = Briefing(spec=remote.spec, backend=remote.backend)
            self._pool = LocalPool(self._run, briefing, [{}], first=int(self._name))
            self._pool.start(1)
        return str(ray.get_runtime_context().get_node_id())

    def _problems(self) -> list[tuple[str, str, str]]:
        try:
            briefing = RemoteBriefing.model_validate_json(self._briefing)
        except ValidationError:
            here = f"{socket.gethostname()} has sweeper {sweeper.__version__}"
            return [(here, "The command is of another version.", "")]
        return missing(self._run, briefing)

    async def poll(self, seconds: float) -> Heard:
        """The worker's messages within that time; returns as soon as there is one."""
        if self._refusal is not None:
            return [line_of(self._refusal)], (0, False)
        assert self._pool is not None
        self._asked = time.monotonic()
        limit = self._asked + seconds
        while True:
            heard = self._heard(self._pool)
            if heard[1] and (heard[1][0] or 0) < 0 and not self._told_to_kill:
                await asyncio.sleep(_OUTLIVE_SECONDS)
            left = limit - time.monotonic()
            if heard[0] or heard[1] or left <= 0:
                return heard
            await _readable(self._pool, min(left, _LOOK_SECONDS))

    async def _end_when_alone(self) -> None:
        while time.monotonic() - self._asked < _ALONE_SECONDS:
            await asyncio.sleep(1.0)
        os._exit(1)  # the worker, tied to this process, ends with it

    def _heard(self, pool: LocalPool) -> Heard:
        lines: list[bytes] = []
        for each in pool.poll(0):
            if isinstance(each, WorkerGone):
                return lines, (each.status, each.out_of_memory)
            lines.append(line_of(each.message))
        return lines, None

    async def send(self, line: bytes) -> None:
        """Pass an order on."""
        if self._pool is not None:
            self._pool.send(self._name, read_order(line))

    async def kill(self) -> None:
        """End the worker and its child processes at once; ``poll`` reports it."""
        self._told_to_kill = True
        if self._pool is not None:
            self._pool.kill()


async def _readable(pool: LocalPool, seconds: float) -> None:
    """Wait for a message of the worker, or for that time."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pool.fileno(), ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), seconds)
    finally:
        loop.remove_reader(pool.fileno())
