"""The actor that holds one worker: the same process that the local pool starts, on another machine.

The worker dies with its actor, however the actor ends. Only bytes and plain values pass between
actor and command, so that another version of sweeper on this machine is recognised and not taken
for a broken actor.
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
from sweeper.errors import Problem
from sweeper.execution.job import Hello, Order, line_of, read_message
from sweeper.execution.pools.local_pool import LocalPool
from sweeper.execution.pools.pool import WorkerGone
from sweeper.features.ray._run_check import FIX, RemoteBriefing, problems_here
from sweeper.runfolder import RunFolder

# Interval at which a worker that sends nothing is checked.
_CHECK_SECONDS = 0.1
# The command polls all the time. After this long without a poll, its node counts as gone. Ray
# itself notices the loss after a minute or later.
_ORPHAN_SECONDS = 40.0

# When a node goes down, Ray ends the child processes of an actor before the actor. If the actor
# still lives after this time, the worker alone was killed.
_NODE_SHUTDOWN_SECONDS = 2.0

# Lines of messages, and the end of the worker's process: its status, and whether it ended for lack
# of memory. None while it runs.
Received = tuple[list[bytes], tuple[int | None, bool] | None]


class WorkerActor:
    """One worker process, on the machine where Ray has placed this actor.

    All methods run on one thread, that of the actor's event loop: the worker is tied to the life of
    the thread that started it, and ``LocalPool`` belongs to one thread.

    Args:
        environment: Variables of the worker besides the GPUs that Ray gave to this process.
    """

    def __init__(
        self, folder: str, briefing: str, name: str, environment: Mapping[str, str]
    ) -> None:
        # Ray also sets the thread count, by the requested CPUs, but not how threads wait.
        os.environ.update(environment)
        self._run, self._briefing, self._name = RunFolder(Path(folder)), briefing, name
        self._pool: LocalPool | None = None
        self._refusal: Hello | None = None
        self._kill_requested = False
        self._last_poll = time.monotonic()

    async def begin(self) -> str:
        """Start the worker, if this machine has the run's files.

        Returns:
            Ray's id of this node.
        """
        self._last_poll = time.monotonic()
        self._orphan_check = asyncio.create_task(self._end_when_orphaned())
        try:
            briefing = RemoteBriefing.model_validate_json(self._briefing)
        except ValidationError:
            versions = f"{socket.gethostname()} has sweeper {sweeper.__version__}"
            problems = [Problem(versions, "The command is of another version.", FIX)]
        else:
            problems = problems_here(self._run, briefing)
        if problems:
            # No worker is started, as its log is in the run's folder: the actor reports instead.
            self._refusal = Hello(
                host=socket.gethostname(), process=os.getpid(), problems=tuple(problems)
            )
        else:
            self._pool = LocalPool(self._run, briefing, [{}], first=int(self._name))
            self._pool.start(1)
        return str(ray.get_runtime_context().get_node_id())

    async def poll(self, seconds: float) -> Received:
        """The worker's messages and end; waits at most ``seconds`` for the first."""
        if self._refusal is not None:
            return [line_of(self._refusal)], (0, False)
        assert self._pool is not None
        self._last_poll = time.monotonic()
        limit = self._last_poll + seconds
        while True:
            received = self._receive(self._pool)
            lines, end = received
            if end is not None and (end[0] or 0) < 0 and not self._kill_requested:
                await asyncio.sleep(_NODE_SHUTDOWN_SECONDS)
            remaining = limit - time.monotonic()
            if lines or end is not None or remaining <= 0:
                return received
            await _wait_for_message(self._pool, min(remaining, _CHECK_SECONDS))

    async def _end_when_orphaned(self) -> None:
        """End this process when the command no longer polls."""
        while time.monotonic() - self._last_poll < _ORPHAN_SECONDS:
            await asyncio.sleep(1.0)
        os._exit(1)  # the worker, tied to this process, ends with it

    def _receive(self, pool: LocalPool) -> Received:
        lines: list[bytes] = []
        for event in pool.poll(0):
            if isinstance(event, WorkerGone):
                return lines, (event.status, event.out_of_memory)
            lines.append(line_of(event.message))
        return lines, None

    async def send(self, line: bytes) -> None:
        """Pass an order on to the worker."""
        if self._pool is not None:
            order = read_message(line)
            assert isinstance(order, Order)
            self._pool.send(self._name, order)

    async def kill(self) -> None:
        """End the worker and its child processes at once; ``poll`` reports it."""
        self._kill_requested = True
        if self._pool is not None:
            self._pool.kill()


async def _wait_for_message(pool: LocalPool, seconds: float) -> None:
    """Wait for a message of the worker, at most ``seconds``."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pool.fileno(), ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), seconds)
    finally:
        loop.remove_reader(pool.fileno())
