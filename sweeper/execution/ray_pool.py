"""Workers as Ray actors, on this machine or on a cluster: started, heard, replaced, killed.

Only this module knows Ray. Each actor holds one ordinary worker process (``ray_host``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError

from sweeper.errors import RunError
from sweeper.execution.events import Event
from sweeper.execution.placement import Demand, demand_of, machine_of, place, quiet_threads
from sweeper.execution.pool import Ended, last_lines, log_of
from sweeper.execution.ray_host import Host
from sweeper.execution.strikes import Strikes
from sweeper.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.search.storage import one_machine_only
from sweeper.spec import Spec

# An actor answers when its worker speaks, and else this often.
_ANSWER_SECONDS = 1.0
# What the command's log says of an actor that is gone: as of a process that was killed.
_KILLED = -9


@dataclass(frozen=True)
class Request:
    """What one actor asks Ray for."""

    cpus: int
    gpus: float
    memory_bytes: int

    def options(self) -> dict[str, Any]:
        """As Ray spells it. An actor is not restarted by Ray: the command starts another."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "memory": self.memory_bytes,
            "max_restarts": 0,
        }

    def fitting(self, node: Mapping[str, float]) -> int:
        """How many actors a node with these resources carries."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        return min(int(node.get(name, 0) / size) for name, size in wanted.items() if size)


def request_for(plan: Plan, workers: int) -> Request:
    """GPUs, cores and main memory of one worker, from what the plan predicts.

    Where trials fit side by side on one GPU, each asks for its share of it.
    """
    demand, machine = demand_of(plan), machine_of(plan)
    started = len(place(workers, machine, demand).environments)
    cpus = max(1, machine.cores // started)
    if plan.facts.hardware.gpus == 0:
        return Request(cpus, 0, int(demand.peak_gib * 2**30))
    weights = max(each.memory.parts.get("weights", 0.0) for each in plan.candidates)
    return Request(cpus, _share(demand, plan), int(weights * 2**30))


def _share(demand: Demand, plan: Plan) -> float:
    if demand.gpus > 1 or demand.peak_gib <= 0:
        return demand.gpus
    limit = max(each.memory.limit_gib for each in plan.candidates)
    return 1 / max(1, int(limit / demand.peak_gib))


def connect(run: RunFolder, spec: Spec, plan: Plan, url: str, backend: str) -> tuple[RayPool, str]:
    """Join the cluster (or start Ray on this machine), and see what it can carry.

    Raises:
        RunError: The cluster cannot be reached, has no machine for a single worker, or has
            several machines that this storage cannot serve.
    """
    _join(spec.search.ray_address)
    request = request_for(plan, spec.search.workers)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if one_machine_only(url) and any(_elsewhere(node) for node in nodes):
        raise RunError(
            "this storage is a file, and the Ray cluster has other machines",
            why="Locks on a file hold on one machine.",
            fix="Give --storage postgresql://... or grpc://HOST:PORT.",
            where="--storage",
        )
    fits = sum(request.fitting(node["Resources"]) for node in nodes)
    asks = f"{request.cpus} CPUs, {request.gpus:g} GPUs and {request.memory_bytes / 2**30:.1f} GiB"
    if fits == 0:
        raise RunError(
            "no machine of the Ray cluster can carry a worker",
            why=f"A worker asks for {asks}, from what the plan predicts.",
            fix="Add a machine, or choose fewer or cheaper strategies (--strategies).",
            where="--executor ray",
        )
    size = min(fits, spec.search.workers)
    note = f"{size} workers instead of {spec.search.workers}: the Ray cluster carries {fits}, each "
    note = "" if size == spec.search.workers else f"{note}of which asks for {asks}"
    return RayPool(run, url, backend, size, request), note


def _join(address: str | None) -> None:
    if ray.is_initialized():
        return
    # Ray starts its workers at a niceness of 15: on a machine with other work they stand still.
    os.environ.setdefault("RAY_worker_niceness", "0")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or "local",
            include_dashboard=False,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RunError(
            f"cannot reach the Ray cluster at {address or os.environ.get('RAY_ADDRESS', 'here')}",
            why=str(error).strip().splitlines()[0],
            fix="Start it with 'ray start --head', or leave --ray-address and RAY_ADDRESS out to "
            "use this machine alone.",
            where="--ray-address",
        ) from error
    finally:
        for number, handler in handlers.items():  # Ray takes TERM for itself
            signal.signal(number, handler)


def _elsewhere(node: Mapping[str, Any]) -> bool:
    return bool(node["NodeManagerHostname"] != socket.gethostname())


@dataclass
class _Actor:
    name: str
    handle: Any
    begun: Any
    answer: Any
    owner: str = ""


@dataclass
class RayPool:
    """The workers of one command, as actors. See ``Pool``, whose interface it has."""

    run: RunFolder
    storage_url: str
    backend: str
    size: int
    request: Request
    processes: list[_Actor] = field(default_factory=list)
    strikes: Strikes = field(default_factory=Strikes)
    stopping: bool = False

    def start(self) -> None:
        """Start actors until there are as many as there should be."""
        taken = {actor.name for actor in self.processes}
        for name in map(str, range(self.size)):
            if name not in taken:
                self.processes.append(self._start(name))

    def _start(self, name: str) -> _Actor:
        handle: Any = (
            ray.remote(Host)
            .options(**self.request.options())
            .remote(
                str(self.run.path.resolve()),
                self.storage_url,
                self.backend,
                name,
                str(Path.cwd()),
                quiet_threads(self.request.cpus),
            )
        )
        return _Actor(name, handle, handle.begin.remote(), handle.poll.remote(_ANSWER_SECONDS))

    def poll(self, seconds: float) -> Iterator[Event | Ended]:
        """What workers said or did within that time."""
        if not self.processes:
            time.sleep(seconds)
            return
        answers = {actor.answer: actor for actor in self.processes}
        ready, _ = ray.wait(list(answers), num_returns=1, timeout=seconds)
        more, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in {*ready, *more}:
            yield from self._heard(answers[answer])

    def _heard(self, actor: _Actor) -> Iterator[Event | Ended]:
        try:
            host, actor.owner = ray.get(actor.begun)
            said = ray.get(actor.answer)
        except RayError as error:
            # Ray watches memory too, and ends what takes most before the system does.
            yield self._ended(actor, _KILLED, starved=isinstance(error, OutOfMemoryError))
            return
        if not actor.owner:
            raise _unseen(self.run, host)
        actor.answer = actor.handle.poll.remote(_ANSWER_SECONDS)
        for each in said:
            if isinstance(each, Ended):
                yield self._ended(actor, each.status, starved=each.out_of_memory)
                return
            self.strikes.hear(actor.name, each)
            yield each

    def _ended(self, actor: _Actor, status: int, *, starved: bool = False) -> Ended:
        self.processes.remove(actor)
        ray.kill(actor.handle)  # gives its resources back
        asked = self.stopping or status == 0
        self.strikes.ended(actor.name, asked=asked, starved=starved)
        return Ended(actor.name, actor.owner, status, asked, starved)

    def broken(self) -> bool:
        """Whether workers end so fast that starting more is no use."""
        return self.strikes.out()

    def ask_to_stop(self) -> None:
        """Tell every worker to put its work back and end."""
        self.stopping = True
        for actor in self.processes:
            with contextlib.suppress(RayError):
                actor.handle.ask_to_stop.remote()

    def kill(self) -> None:
        """End every actor at once, and the worker in it."""
        self.stopping = True
        for actor in self.processes:
            with contextlib.suppress(RayError):
                ray.kill(actor.handle)

    def last_words(self, name: str, lines: int = 5) -> str:
        """The last lines of a worker's log, which lies in the run's folder."""
        return last_lines(log_of(self.run, name), lines)


def _unseen(run: RunFolder, host: str) -> RunError:
    return RunError(
        f"the run's folder cannot be seen from {host}",
        why="Workers read the plan from it and write trials into it.",
        fix="Put runs/ on a file system that all machines of the cluster share.",
        where=str(run.path.resolve()),
    )
