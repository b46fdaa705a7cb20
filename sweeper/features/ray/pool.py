"""Workers as Ray actors, each of which holds one ordinary worker process (``_actor``).

Ray decides where and when a worker is started, and reports the machines that are gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sweeper.child_process import thread_settings
from sweeper.errors import RunError
from sweeper.execution.job import Briefing, Hello, Order, line_of, read_message
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage
from sweeper.facts.machine.hardware import VISIBLE
from sweeper.features.ray import _cluster
from sweeper.features.ray._actor import WorkerActor
from sweeper.features.ray._cluster import Request, request_for
from sweeper.features.ray._run_check import RemoteBriefing, mark_folder
from sweeper.features.ray.options import Options
from sweeper.packages import install_command
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

# An actor answers when its worker sends a message, and at least this often.
_POLL_SECONDS = 5.0
# An actor that was told to end its worker and does not answer within this time is ended itself.
_KILL_SECONDS = 5.0
# Interval at which this machine's connection is checked while workers wait for a place.
_CHECK_SECONDS = 5.0
# After more failed starts in a row, Ray counts as unable to start actors.
_MAX_FAILED_STARTS = 9
# Exit status of a killed process.
_KILLED = -9
# Ray's label with the id of a node.
_NODE_LABEL = "ray.io/node-id"


def connect(run: RunFolder, spec: Spec, plan: Plan, briefing: Briefing) -> tuple[RayPool, str]:
    """Join the cluster, or start Ray on this machine, and count the workers that fit.

    Returns:
        The pool, and why there will be fewer workers than requested; empty if all fit or the
        cluster may grow.

    Raises:
        RunError: The cluster cannot be reached, a worker fits on no node, or the plan is for a CPU
            and nodes have GPUs.
    """
    connects_here = not ray.is_initialized()
    _cluster.join(spec.features.of(Options).address)
    requested, resources = plan.workers(spec.search), [node.resources for node in _cluster.nodes()]
    hardware = plan.facts.hardware
    if (
        hardware.detected
        and hardware.device == "cpu"
        and any(resource.get("GPU") for resource in resources)
    ):
        raise RunError(
            "the plan is for this machine's CPU, but nodes of the cluster have GPUs",
            fix="State what they have: --gpu NAME or --gpu-memory GIB.",
            where="--executor ray",
        )
    request = request_for(plan, requested, resources)
    count = _cluster.workers_that_fit(request)
    own_node = str(ray.get_runtime_context().get_node_id())
    pool = RayPool(run, mark_folder(run, briefing), requested, request, own_node, connects_here)
    if count >= requested or _cluster.has_autoscaler():
        return pool, ""
    return pool, (
        f"{count} workers instead of {requested} for now: the Ray cluster has room for no more, at "
        f"{request} each; others start when nodes join it"
    )


@dataclass
class _Actor:
    """One requested actor.

    Args:
        group: Placement group of its GPUs; None if it needs none.
        answer: Pending call: first ``begin``, then ``poll``.
        asked_at: Time of the request, on the monotonic clock.
        node: Ray's id of its node; empty until it has started.
        kill_deadline: Time on the same clock by which it must have ended; None unless it is killed.
    """

    name: str
    handle: Any
    group: Any
    answer: Any
    asked_at: float
    node: str = ""
    kill_deadline: float | None = None


@dataclass
class RayPool:
    """A ``Pool``. An actor that waits for a place does not count as a worker.

    Args:
        size: Limit on the number of workers, even if fewer fit on the cluster now.
        node: Ray's id of the node of this process.
        connected_here: Whether this pool connected the process to Ray, and disconnects it.
    """

    run: RunFolder
    briefing: RemoteBriefing
    size: int
    request: Request
    node: str = ""
    connected_here: bool = False
    _actors: dict[str, _Actor] = field(default_factory=dict)
    _refused: dict[str, Hello] = field(default_factory=dict)  # by node
    _notices: list[str] = field(default_factory=list)
    _wait_reported: bool = False
    _checked_at: float = 0.0
    _failed_starts: int = 0

    @property
    def workers(self) -> Collection[str]:
        return [actor.name for actor in self._actors.values() if actor.node]

    def start(self, count: int) -> None:
        missing = min(count, self.size) - len(self._actors)
        free = (name for name in map(str, range(self.size)) if name not in self._actors)
        for _ in range(missing):
            name = next(free)
            self._actors[name] = self._request_actor(name)
        for actor in list(self._actors.values())[::-1]:
            # Requests that are no longer needed must not make a cluster grow.
            if missing < 0 and not actor.node:
                self._drop(actor)
                missing += 1

    def _request_actor(self, name: str) -> _Actor:
        options = self.request.options()
        avoided_nodes = {}
        if self._refused:
            avoided_nodes = {_NODE_LABEL: f"!in({','.join(sorted(self._refused))})"}
        group = None
        if self.request.has_several_gpus:
            # All GPUs of the worker are in one bundle, and Ray never divides a bundle among nodes.
            group = placement_group(
                [self.request.bundle()],
                strategy="STRICT_PACK",
                bundle_label_selector=[avoided_nodes] if avoided_nodes else None,
            )
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, 0)
        else:
            options |= {"scheduling_strategy": "SPREAD", "label_selector": avoided_nodes or None}
        environment = thread_settings(self.request.cpus)
        if not self.request.gpus:
            environment[VISIBLE] = ""  # without a requested GPU, Ray shows all of them
        # Ray must not restart an actor: the pool requests another.
        handle: Any = ray.remote(WorkerActor).options(max_restarts=0, **options)
        handle = handle.remote(
            str(self.run.path.resolve()), self.briefing.model_dump_json(), name, environment
        )
        return _Actor(name, handle, group, handle.begin.remote(), time.monotonic())

    def send(self, worker: str, order: Order) -> None:
        if worker in self._actors:
            self._actors[worker].handle.send.remote(line_of(order))

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        if not self._actors:
            time.sleep(seconds)
            return
        answers = {actor.answer: actor for actor in self._actors.values()}
        ready, _ = ray.wait(list(answers), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        for answer in ready:
            yield from self._events_of(answers[answer])
        for actor in list(self._actors.values()):
            if actor.kill_deadline is not None and time.monotonic() > actor.kill_deadline:
                yield self._gone(actor, _KILLED)

    def _events_of(self, actor: _Actor) -> Iterator[WorkerMessage | WorkerGone]:
        if self._actors.get(actor.name) is not actor:
            return
        try:
            answer = ray.get(actor.answer)
        except RayError as error:
            yield self._end_of_broken_actor(actor, error)
            return
        if not actor.node:
            actor.node, self._failed_starts, self._wait_reported = answer, 0, False
        else:
            lines, ended = answer
            for message in map(read_message, lines):
                if isinstance(message, Hello) and message.problems:
                    yield from self._refuse(actor, message)
                    return
                yield WorkerMessage(actor.name, message)
            if ended is not None:
                status, out_of_memory = ended
                yield self._gone(actor, status, out_of_memory=out_of_memory)
                return
        actor.answer = actor.handle.poll.remote(_POLL_SECONDS)

    def _end_of_broken_actor(self, actor: _Actor, error: RayError) -> WorkerGone:
        """The end of an actor: its node is gone, or Ray's memory monitor or the pool killed it."""
        if not actor.node:
            self._failed_starts += 1
            if self._failed_starts > _MAX_FAILED_STARTS:
                raise RunError(
                    "Ray cannot start workers",
                    why=str(error).strip(),
                    fix="Each node needs sweeper, in the command's version, and what training "
                    f"needs: {install_command('train', 'ray')}.",
                    where="--executor ray",
                ) from error
        if isinstance(error, OutOfMemoryError):
            # Ray's memory monitor ends the largest process before the system does.
            return self._gone(actor, _KILLED, out_of_memory=True)
        if actor.kill_deadline is not None:
            return self._gone(actor, _KILLED)
        return self._gone(actor, None, lost=True)

    def _refuse(self, actor: _Actor, hello: Hello) -> Iterator[WorkerMessage]:
        """Leave out a node with problems; the command gets all problems if no node is left."""
        is_new = actor.node not in self._refused
        self._refused[actor.node] = hello
        self._drop(actor)
        if not is_new:
            return
        other_nodes = (node for node in _cluster.nodes() if node.name not in self._refused)
        if self.workers or any(self.request.fitting(node.resources) for node in other_nodes):
            problem_text = "; ".join(problem.what for problem in hello.problems)
            self._notices.append(f"{hello.host} gets no work: {problem_text}")
            return
        problems = [
            problem for node_hello in self._refused.values() for problem in node_hello.problems
        ]
        all_problems = tuple(dict.fromkeys(problems))
        yield WorkerMessage(actor.name, hello.model_copy(update={"problems": all_problems}))

    def _gone(
        self, actor: _Actor, status: int | None, *, out_of_memory: bool = False, lost: bool = False
    ) -> WorkerGone:
        self._drop(actor)
        self._wait_reported = False
        return WorkerGone(actor.name, status, out_of_memory, lost)

    def _drop(self, actor: _Actor) -> None:
        del self._actors[actor.name]
        with contextlib.suppress(RayError):
            ray.kill(actor.handle)
        if actor.group is not None:
            remove_placement_group(actor.group)

    def kill(self, worker: str | None = None) -> None:
        for actor in list(self._actors.values()):
            if worker not in (None, actor.name) or actor.kill_deadline is not None:
                continue
            if not actor.node:
                self._drop(actor)
                continue
            actor.kill_deadline = time.monotonic() + _KILL_SECONDS
            actor.handle.kill.remote()

    def notices(self) -> list[str]:
        notices, self._notices = self._notices, []
        return [*notices, *self._waiting_notices()]

    def _waiting_notices(self) -> Iterator[str]:
        pending = [actor for actor in self._actors.values() if not actor.node]
        now = time.monotonic()
        if pending and now - self._checked_at > _CHECK_SECONDS:
            self._checked_at = now
            _cluster.check_connected(self.node)
        if not pending or self._wait_reported:
            return
        if now - min(actor.asked_at for actor in pending) < _cluster.WAIT_SECONDS:
            return
        self._wait_reported = True
        # Without an autoscaler, missing workers were reported at the start.
        if self.workers and not _cluster.has_autoscaler():
            return
        where = " on one node" if self.request.has_several_gpus else ""
        yield (
            f"waiting for the Ray cluster: it has no room for {len(pending)} of {self.size} "
            f"workers, each of which asks for {self.request}{where}"
        )

    def close(self) -> None:
        self.kill()
        limit = time.monotonic() + 2 * _KILL_SECONDS
        while self._actors and time.monotonic() < limit:
            for _ in self.poll(_KILL_SECONDS):
                pass
        for actor in list(self._actors.values()):
            self._drop(actor)
        if self.connected_here:
            ray.shutdown()
