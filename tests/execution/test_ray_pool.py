"""The real command with Ray's actors as workers, over the curve backend."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from curve_backend import make_plan, make_spec
from optuna.trial import TrialState
from sweeper.execution.claims import lease_of

from sweeper.errors import RunError
from sweeper.plan import Plan
from sweeper.runfolder import RunFolder

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sweeper[ray]'")

from ray.exceptions import ActorDiedError, OutOfMemoryError
from sweeper.execution.pool import Ended
from sweeper.execution.ray_pool import Request, request_for

from sweeper.execution import ray_pool

RAY = {
    "CURVE_EXECUTOR": "ray",
    "CURVE_QUICK": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.mark.slow
def test_a_killed_actor_costs_one_attempt_and_ctrl_c_leaves_no_process(
    commands, assert_whole: Callable[[int], None]
) -> None:
    popen = commands.start(8, 2, CURVE_STEP_SECONDS="0.05", **RAY)
    commands.wait_for(lambda: len(commands.lines("trained.log")) >= 2, 120.0)
    actor = commands.workers()[0].parent()
    assert actor is not None
    assert actor.cmdline()[0].startswith("ray::Host")
    actor.kill()
    commands.wait_for(lambda: any(lease_of(t).crashes for t in commands.trials()), 60.0)
    before = len(commands.lines("trained.log"))
    commands.wait_for(lambda: len(commands.lines("trained.log")) > before, 120.0)
    popen.send_signal(signal.SIGINT)
    _, errors = popen.communicate(timeout=60)
    assert popen.returncode == 130, errors
    commands.wait_for(lambda: not commands.workers(), 60.0)
    assert TrialState.RUNNING not in commands.states()
    # The run goes on where it stopped, with processes of this machine.
    commands.finish(8, 2, CURVE_QUICK="1")
    assert_whole(8)
    assert max(lease_of(trial).crashes for trial in commands.trials()) == 1


def on_gpus(count: int, per_trial: int, weights: float = 1.5) -> Plan:
    plan = make_plan()
    hardware = plan.facts.hardware.model_copy(update={"device": "cuda", "gpus": count})
    candidates = [
        each.model_copy(
            update={
                "gpus_per_trial": per_trial,
                "memory": each.memory.model_copy(update={"parts": {"weights": weights}}),
            }
        )
        for each in plan.candidates
    ]
    facts = plan.facts.model_copy(update={"hardware": hardware})
    return plan.model_copy(update={"facts": facts, "candidates": tuple(candidates)})


@pytest.mark.parametrize(
    ("plan", "gpus", "memory_gib"),
    [
        (make_plan(), 0, 2.0),  # the predicted peak lies in main memory
        (on_gpus(2, 1), 0.25, 1.5),  # two GiB of eight: four trials share a GPU
        (on_gpus(4, 2), 2, 1.5),
    ],
)
def test_a_worker_asks_for_what_the_plan_predicts(
    plan: Plan, gpus: float, memory_gib: float
) -> None:
    request = request_for(plan, 2)
    assert request.gpus == gpus
    assert request.memory_bytes == memory_gib * 2**30
    assert request.cpus >= 1
    assert request.options()["max_restarts"] == 0


@pytest.mark.parametrize(
    ("node", "actors"),
    [
        ({"CPU": 8.0, "GPU": 1.0, "memory": 64 * 2**30}, 2),
        ({"CPU": 3.0, "GPU": 4.0, "memory": 64 * 2**30}, 1),
        ({"CPU": 8.0, "memory": 64 * 2**30}, 0),
        ({"CPU": 8.0, "GPU": 4.0, "memory": 3 * 2**30}, 1),
    ],
)
def test_a_machine_carries_as_many_as_its_scarcest_resource_allows(
    node: dict[str, float], actors: int
) -> None:
    assert Request(cpus=2, gpus=0.5, memory_bytes=2 * 2**30).fitting(node) == actors


@pytest.mark.parametrize(
    ("said", "starved"),
    [
        (OutOfMemoryError("the node ran low on memory"), True),  # Ray's own monitor
        (ActorDiedError(), False),
        ([Ended("0", "elsewhere/1/0", -9, asked=False, out_of_memory=True)], True),
        ([Ended("0", "elsewhere/1/0", -9, asked=False)], False),
    ],
)
def test_a_worker_that_was_killed_for_its_memory_is_told_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: object, starved: bool
) -> None:
    def get(reference: object) -> object:
        if isinstance(reference, Exception):
            raise reference
        return reference

    monkeypatch.setattr(ray_pool.ray, "get", get)
    monkeypatch.setattr(ray_pool.ray, "kill", lambda _handle: None)
    pool = ray_pool.RayPool(RunFolder(tmp_path), "grpc://h:1", "m:f", 1, Request(1, 0, 0))
    handle = SimpleNamespace(poll=SimpleNamespace(remote=lambda _seconds: None))
    actor = ray_pool._Actor("0", handle, ("elsewhere", "elsewhere/1/0"), said)
    pool.processes.append(actor)
    (ended,) = pool._heard(actor)
    assert isinstance(ended, Ended)
    assert (ended.owner, ended.status) == ("elsewhere/1/0", -9)
    assert ended.out_of_memory is starved


def test_a_file_is_no_storage_for_a_cluster_and_a_worker_that_fits_nowhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def node(host: str, **resources: float) -> dict[str, object]:
        return {"Alive": True, "NodeManagerHostname": host, "Resources": resources}

    monkeypatch.setattr(ray_pool, "_join", lambda _address: None)
    asked = (RunFolder(tmp_path), make_spec(workers=3), make_plan())
    large = {"CPU": 64.0, "memory": 2.0 * 2**40}
    nodes = [node(socket.gethostname(), **large), node("elsewhere", **large)]
    monkeypatch.setattr(ray_pool.ray, "nodes", lambda: nodes)
    with pytest.raises(RunError, match="this storage is a file"):
        ray_pool.connect(*asked, "journal:/x.log", "m:f")
    pool, note = ray_pool.connect(*asked, "postgresql://h/d", "m:f")
    assert (pool.size, note) == (3, "")
    nodes[:] = [node("elsewhere", CPU=64.0, memory=5.0 * 2**30)]
    pool, note = ray_pool.connect(*asked, "grpc://h:1", "m:f")
    assert pool.size == 2
    assert note.startswith("2 workers instead of 3: the Ray cluster carries 2")
    nodes[:] = [node("elsewhere", CPU=64.0, memory=1.0)]
    with pytest.raises(RunError, match="no machine of the Ray cluster can carry a worker"):
        ray_pool.connect(*asked, "grpc://h:1", "m:f")
