"""Real commands on a Ray cluster of several nodes, all on this machine, over the curve backend."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from commands import PATHS, Commands
from curve_backend import make_plan, make_spec, on_gpus

from sweeper.errors import Problem, RunError
from sweeper.execution.job import Briefing, Close, Hello, Ready, line_of
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage
from sweeper.execution.state.attempts import attempt_folder, attempts_of, read_end
from sweeper.features.ray._cluster import Request
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder

pytest.importorskip("ray", reason="Ray is not installed: pip install 'finetune-sweeper[ray]'")

import ray
from ray._private import ray_constants
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError, OutOfMemoryError

from sweeper.features.ray import _cluster
from sweeper.features.ray import pool as ray_pool
from sweeper.features.ray._cluster import Node
from sweeper.features.ray.pool import RayPool, connect

GIB = 2**30
STORE = GIB // 8
RAY = {
    # Ray would take both from the memory that is free on this machine.
    "RAY_OVERRIDE_RESOURCES": json.dumps({"object_store_memory": STORE}),
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "CURVE_EXECUTOR": "ray",
    "CURVE_QUICK": "1",
}
# What workers see; they inherit their node's environment, not the command's.
WORKERS = {"PYTHONPATH": PATHS, "CURVE_STEP_SECONDS": "0.08", "CURVE_CRASH": "1:2:1"}


class TwoNodes:
    """Two nodes with room for one worker each; the first one is the head."""

    def __init__(self) -> None:
        head = {"num_cpus": 1, "memory": 3 * GIB, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.first, self.second = self.cluster.head_node, self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, **more: Any) -> Any:
        """A node with room for one worker, unless it is told otherwise."""
        return self.cluster.add_node(**({"num_cpus": 1, "memory": 3 * GIB} | more))

    def remove(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (RAY | WORKERS).items():
            patch.setenv(name, value)
        made = TwoNodes()
        yield made
        ray.shutdown()
        made.cluster.shutdown()


@pytest.fixture
def asked(tmp_path: Path, nodes: TwoNodes) -> Iterator[Callable[..., RayPool]]:
    """Connects this process to the cluster, as a command would."""
    made: list[RayPool] = []

    def ask(plan: Plan, workers: int) -> RayPool:
        run = RunFolder(tmp_path)
        plan.write(run.plan)
        spec = make_spec(workers=workers, features={"ray": {"address": nodes.address}})
        pool, _ = connect(run, spec, plan, Briefing(spec=spec, backend="curve_backend:make"))
        made.append(pool)
        return pool

    yield ask
    for pool in made:
        pool.close()


def heard(
    pool: RayPool, until: Callable[[list[WorkerMessage | WorkerGone]], bool]
) -> list[WorkerMessage | WorkerGone]:
    """All that a pool says until it has said enough."""
    said: list[WorkerMessage | WorkerGone] = []
    limit = time.monotonic() + 300
    while not until(said):
        assert time.monotonic() < limit, said
        said += pool.poll(0.1)
    return said


def ready(said: list[WorkerMessage | WorkerGone]) -> list[str]:
    return [each.worker for each in said if isinstance(getattr(each, "message", None), Ready)]


_ENTER = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=10)
except AuthenticationError as error:
    print(type(error).__name__)
"""


def value_of(command: psutil.Process, flag: str) -> str:
    """A flag's value in the processes of a command."""
    words: list[str] = []
    for one in command.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # a child that has just ended
            words += one.cmdline()
    return next(word.removeprefix(flag) for word in words if word.startswith(flag))


def entered(command: psutil.Process, environment: dict[str, str]) -> str:
    """What Ray of a command answers to a stranger on this machine."""
    asked = subprocess.run(
        [sys.executable, "-c", _ENTER, value_of(command, "--gcs-address=")],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        | environment,
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return asked.stdout.strip()


def raylet_of(node: Any) -> int:
    return int(node.all_processes[ray_constants.PROCESS_TYPE_RAYLET][0].process.pid)


def workers_on(commands: Commands, node: Any) -> list[psutil.Process]:
    """Worker processes of a run whose actor was started by this node."""
    raylet, found = raylet_of(node), []
    for process in commands.workers():
        try:
            if raylet in [parent.pid for parent in process.parents()]:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def begins_a_trial(commands: Commands, node: Any) -> bool:
    """Whether a worker on this node has a trial that is far from its end."""
    last = {event.get("worker"): event for event in map(json.loads, commands.lines("events.jsonl"))}
    names = [process.cmdline()[-1] for process in workers_on(commands, node)]
    events = [last[name] for name in names if name in last]
    return any(event["kind"] == "rung" and event["rung"] < 3 for event in events)


def ends(commands: Commands, trials: int) -> dict[tuple[int, int], str]:
    """Why attempts ended without a result, by trial and attempt."""
    found = {}
    for number in range(trials):
        home = commands.run.trial(number)
        for attempt in attempts_of(home):
            end = read_end(attempt_folder(home, attempt))
            if end is not None:
                found[number, attempt] = end.kind
    return found


@pytest.mark.slow
def test_a_sweep_loses_a_node_gets_another_and_still_has_each_trial_once(
    commands, nodes: TwoNodes, assert_whole: Callable[[int], None]
) -> None:
    command = commands.start(12, 3, RAY_ADDRESS=nodes.address, **RAY)
    commands.wait_for(lambda: workers_on(commands, nodes.first))
    commands.wait_for(lambda: workers_on(commands, nodes.second))
    # A worker that dies inside of a living actor, by CURVE_CRASH, is a crash of the trial.
    commands.wait_for(lambda: (1, 1) in ends(commands, 12))
    commands.wait_for(lambda: begins_a_trial(commands, nodes.second))
    nodes.remove(nodes.second)
    nodes.second = nodes.add()
    commands.wait_for(lambda: workers_on(commands, nodes.second))
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 0, errors
    assert_whole(12)
    why = ends(commands, 12)
    assert why.pop((1, 1)) == "crash"
    assert set(why.values()) == {"interrupted"}
    assert len(why) == 1
    events = "\n".join(commands.lines("events.jsonl"))
    assert "2 workers instead of 3 for now: the Ray cluster has room for no more" in events
    assert "is gone" in events
    commands.wait_for(lambda: not commands.workers())


@pytest.mark.slow
def test_a_killed_command_leaves_no_worker_on_any_node_and_resumes_elsewhere(
    commands, nodes: TwoNodes, assert_whole: Callable[[int], None]
) -> None:
    command = commands.start(6, 2, RAY_ADDRESS=nodes.address, **RAY)
    commands.wait_for(lambda: len(commands.lines("trained.log")) >= 3)
    command.kill()
    command.wait()
    commands.wait_for(lambda: not commands.workers())
    commands.finish(6, 1, CURVE_EXECUTOR="local", CURVE_STEP_SECONDS="0")
    assert_whole(6)


@pytest.mark.slow
def test_a_cluster_on_this_machine_alone_is_closed_to_others(
    commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    asked = {name: value for name, value in RAY.items() if name != "RAY_AUTH_MODE"}
    machine = {"CPU": 2, "memory": 6 * GIB, "object_store_memory": STORE}
    asked["RAY_OVERRIDE_RESOURCES"] = json.dumps(machine)
    command = commands.start(
        8, 2, CURVE_WAITS="0:2:1,1:2:1", HOME=str(tmp_path), PYTHONPATH=PATHS, **asked
    )
    commands.wait_for(lambda: len(commands.lines("trained.log")) >= 2)
    (worker, *_) = commands.workers()
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    whole = psutil.Process(command.pid)
    open_to = {
        connection.laddr.ip
        for process in [whole, *whole.children(recursive=True)]
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {ip.removeprefix("::ffff:") for ip in open_to} == {"127.0.0.1"}
    assert entered(whole, {}) == "AuthenticationError"
    assert entered(whole, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}) == (
        "AuthenticationError"
    )
    assert not (tmp_path / ".ray").exists()
    session = Path(value_of(whole, "--session-dir="))  # with logs and sockets
    assert 0o700 in {stat.S_IMODE(folder.stat().st_mode) for folder in session.parents}
    for process in whole.children(recursive=True):
        if process.name().startswith("ray::WorkerActor"):
            process.kill()  # an actor alone; its worker must not outlive it
            break
    commands.wait_for(lambda: "interrupted" in ends(commands, 8).values())
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=300)
    assert command.returncode == 130, errors
    commands.wait_for(lambda: not commands.workers())


@pytest.mark.slow
def test_what_fits_on_no_node_is_an_error_or_waited_for_where_nodes_may_be_started(
    asked: Callable[..., RayPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    memory = plan.candidates[0].memory.model_copy(update={"high_gib": 500.0, "limit_gib": 600.0})
    large = plan.candidates[0].model_copy(update={"memory": memory})
    plan = plan.model_copy(update={"candidates": (large, *plan.candidates[1:])})
    with pytest.raises(RunError) as caught:
        asked(plan, 2)
    text = str(caught.value)
    assert "1 CPU, 0 GPUs and 500.0 GiB of memory" in text
    assert "the largest node has 1 CPU, 0 GPUs and 3.0 GiB of memory" in text
    monkeypatch.setattr(_cluster, "has_autoscaler", lambda: True)
    pool = asked(plan, 2)
    pool.start(2)
    assert pool.notices() == []
    monkeypatch.setattr(_cluster, "WAIT_SECONDS", 0.0)
    assert list(pool.poll(0.1)) == []
    assert list(pool.workers) == []
    assert pool.notices() == [
        "waiting for the Ray cluster: it has no room for 2 of 2 workers, each of which asks for "
        "1 CPU, 0 GPUs and 500.0 GiB of memory"
    ]
    assert pool.notices() == []
    pool.start(0)  # nobody needs them any more
    assert pool._actors == {}


@pytest.mark.slow
def test_a_node_that_does_not_see_the_run_gets_no_work(
    asked: Callable[..., RayPool], nodes: TwoNodes, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sweeper; sweeper.__version__ = '0.0.1'\n")
    path = os.pathsep.join([str(tmp_path), PATHS])
    third = nodes.add(env_vars={"PYTHONPATH": path})
    try:
        pool = asked(make_plan(), 3)
        pool.start(3)
        notices: list[str] = []

        def enough(said: list[WorkerMessage | WorkerGone]) -> bool:
            notices.extend(pool.notices())
            return bool(notices) and len(ready(said)) == 2

        said = heard(pool, enough)
        assert not [each for each in said if isinstance(each, WorkerGone)]
        host = socket.gethostname()
        assert notices == [f"{host} gets no work: {host} has sweeper 0.0.1"]
        pool.start(3)  # the third waits for another node
        again = heard(pool, lambda said: not list(pool.poll(1.0)))
        assert again == []
        assert len(pool.workers) == 2
        (waiting,) = (actor for actor in pool._actors.values() if not actor.node)
        pool.send(next(iter(pool.workers)), Close())
        gone = heard(pool, lambda said: any(isinstance(each, WorkerGone) for each in said))
        assert gone[-1].status == 0
        heard(pool, lambda _said: waiting.name in pool.workers)  # its place is free again
    finally:
        pool.close()
        nodes.remove(third)


@pytest.fixture(scope="module")
def gpus(nodes: TwoNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A node that says it has two GPUs, and too little main memory for other workers."""
    tools = tmp_path_factory.mktemp("tools")
    driver = tools / "nvidia-smi"
    card = "NVIDIA A100-SXM4-80GB, 81920, 8.0"
    driver.write_text(f"#!/bin/sh\necho '{card}'\necho '{card}'\n")
    driver.chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        node = nodes.add(num_cpus=4, num_gpus=2, memory=1 * GIB, env_vars={"PATH": path})
    yield
    nodes.remove(node)


@pytest.mark.slow
@pytest.mark.usefixtures("gpus")
def test_a_trial_on_several_gpus_has_them_on_one_node_and_others_share_one(
    asked: Callable[..., RayPool],
) -> None:
    def shown(workers: int, per_trial: int) -> list[str]:
        pool = asked(on_gpus(2, per_trial, weights=0.25), workers)
        pool.start(workers)
        said = heard(pool, lambda said: len(ready(said)) == workers)
        hellos = [each.message for each in said if isinstance(getattr(each, "message", 0), Hello)]
        places = [psutil.Process(hello.process).environ() for hello in hellos]
        pool.close()
        assert {place["OMP_WAIT_POLICY"] for place in places} == {"PASSIVE"}
        return sorted(place["CUDA_VISIBLE_DEVICES"] for place in places)

    assert shown(1, per_trial=2) in (["0,1"], ["1,0"])
    assert shown(4, per_trial=1) == ["0", "0", "1", "1"]


def test_a_plan_for_a_cpu_is_refused_on_a_cluster_with_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cluster, "join", lambda _address: None)
    monkeypatch.setattr(_cluster, "nodes", lambda: [Node("a", {"CPU": 8.0, "GPU": 1.0})])
    run, spec = RunFolder(tmp_path), make_spec()
    with pytest.raises(RunError) as refused:
        connect(run, spec, make_plan(), Briefing(spec=spec, backend="curve_backend:make"))
    assert refused.value.problems[0].where == "--executor ray"
    assert "--gpu" in refused.value.problems[0].fix


PROBLEM = Problem("it sees no data", where="data")
ELSEWHERE = Hello(host="elsewhere", process=1, problems=(PROBLEM,))


@pytest.mark.parametrize(
    ("answer", "killed", "gone"),
    [
        (OutOfMemoryError("the node ran low on memory"), False, (-9, True, False)),
        (ActorDiedError(), False, (None, False, True)),
        (ActorDiedError(), True, (-9, False, False)),
        (([], (-9, True)), False, (-9, True, False)),
        (([], (70, False)), False, (70, False, False)),
    ],
)
def test_why_a_worker_is_gone_is_told_apart(
    alone: Callable[..., RayPool], answer: object, killed: bool, gone: tuple[object, ...]
) -> None:
    pool = alone(answer)
    if killed:
        pool.kill("0")
    (end,) = pool._events_of(pool._actors["0"])
    assert isinstance(end, WorkerGone)
    assert (end.status, end.out_of_memory, end.lost) == gone
    assert list(pool.workers) == []


def test_a_run_that_no_node_sees_is_an_error_that_names_them_all(
    alone: Callable[..., RayPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [Node("a", {"CPU": 8.0, "memory": 8.0 * GIB})]
    monkeypatch.setattr(_cluster, "nodes", lambda: left)
    pool = alone(([line_of(ELSEWHERE)], (0, False)))
    (said,) = pool._events_of(pool._actors["0"])
    assert said == WorkerMessage("0", ELSEWHERE)
    left.append(Node("b", {"CPU": 8.0, "memory": 8.0 * GIB}))
    pool = alone(([line_of(ELSEWHERE)], (0, False)))
    assert list(pool._events_of(pool._actors["0"])) == []
    assert pool.notices() == ["elsewhere gets no work: it sees no data"]


def test_actors_that_never_begin_end_the_run_at_last(alone: Callable[..., RayPool]) -> None:
    pool = alone(ActorDiedError())
    actor = pool._actors["0"]
    actor.node = ""
    for _ in range(9):
        (gone,) = pool._events_of(actor)
        assert gone.lost
        pool._actors["0"] = actor
    with pytest.raises(RunError):
        list(pool._events_of(actor))


def test_a_machine_that_left_the_cluster_does_not_wait_for_it_forever(
    alone: Callable[..., RayPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [Node("here", {}), Node("a", {})]
    monkeypatch.setattr(_cluster, "nodes", lambda: left)
    pool = alone("silence")
    pool.node, pool._actors["0"].node = "here", ""
    pool._actors["0"].asked_at = time.monotonic()
    assert pool.notices() == []
    del left[0]
    pool._checked_at = 0.0
    with pytest.raises(RunError):
        pool.notices()


def test_an_actor_that_does_not_answer_a_kill_is_given_up(
    alone: Callable[..., RayPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool.ray, "wait", lambda answers, **_options: ([], answers))
    monkeypatch.setattr(ray_pool, "_KILL_SECONDS", 0.0)
    pool = alone("silence")
    pool.kill()
    assert list(pool.poll(0)) == [WorkerGone("0", -9)]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RayPool]:
    """A pool without Ray: one worker, on node a, which is about to give an answer."""

    def get(reference: object) -> object:
        if isinstance(reference, Exception):
            raise reference
        return reference

    def make(answer: object) -> RayPool:
        pool = RayPool(RunFolder(tmp_path), SimpleNamespace(), 1, Request(1, 0, GIB))
        call = SimpleNamespace(remote=lambda *_arguments: None)
        handle = SimpleNamespace(poll=call, kill=call)
        pool._actors["0"] = ray_pool._Actor("0", handle, None, answer, 0.0, node="a")
        return pool

    monkeypatch.setattr(ray_pool.ray, "get", get)
    monkeypatch.setattr(ray_pool.ray, "kill", lambda _handle: None)
    return make
