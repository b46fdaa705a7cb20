"""A plan that is made on another machine, with processes of this one in its stead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeper.child_process import NoAnswer
from sweeper.errors import UsageError
from sweeper.facts.gather import gather
from sweeper.facts.machine.calibration import Calibration, versions, write
from sweeper.facts.machine.detect_hardware import Processor
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import DataFacts, Facts, HardwareFacts
from sweeper.processes import plan_where
from sweeper.processes.plan_where import calibrated, plan_elsewhere, plan_here, trains_elsewhere
from sweeper.spec import AimSpec, DataSpec, HardwareSpec, ModelSpec, SearchSpec, Spec

SPEC = Spec(
    task="classification",
    models=(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"),),
    data=DataSpec(examples=2000),
    search=SearchSpec(executor="ray", ray_address="head:6379", storage="postgresql://u:secret@h/d"),
)
HOW: dict[str, Any] = {"measure": False, "probe": None, "tell": print}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a node without GPUs is asked, which is this machine."""
    ray_node = pytest.importorskip("sweeper.execution.pools.ray_node", reason="Ray is missing")
    asked = []

    def on_node(module: str, text: str, *, address: str, gpu: bool, **_options: object) -> object:
        asked.append(text)
        assert (address, gpu) == ("head:6379", False)
        done = subprocess.run(
            [sys.executable, "-m", module, "0"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        return ray_node.NodeAnswer("elsewhere", 0, done.stdout, done.stderr)

    monkeypatch.setattr(ray_node, "on_node", on_node)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return asked


@pytest.mark.usefixtures("real_machine")
def test_a_plan_made_elsewhere_is_the_one_that_would_be_made_there(node: list[str]) -> None:
    facts = gather(SPEC)
    assert plan_elsewhere(SPEC, facts, **HOW) == plan_here(SPEC, facts, **HOW)
    assert "secret" not in node[0]


def test_what_is_wrong_elsewhere_is_wrong_here(node: list[str]) -> None:
    spec = SPEC.model_copy(update={"hardware": HardwareSpec(nodes=2)})
    with pytest.raises(UsageError, match="GPUs are requested, but this machine has none"):
        plan_elsewhere(spec, gather(SPEC), **HOW)


def test_only_a_cluster_that_is_named_is_asked_and_only_if_its_hardware_is_not_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="Ray is missing")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert trains_elsewhere(SPEC)
    search = SPEC.search.model_copy(update={"ray_address": None})
    here = SPEC.model_copy(update={"search": search})
    assert not trains_elsewhere(here)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert trains_elsewhere(here)
    for stated in (HardwareSpec(gpu="A100 80GB"), HardwareSpec(gpu_memory_gib=24)):
        assert not trains_elsewhere(SPEC.model_copy(update={"hardware": stated}))
    local = SPEC.search.model_copy(update={"executor": "local"})
    assert not trains_elsewhere(SPEC.model_copy(update={"search": local}))


CPU = HardwareFacts(
    device="cpu", name="a cpu", detected=True, gpus=0, memory_gib=16, bf16=False, cpu_cores=2
)
SIZE = Spec(task="classification", models=(ModelSpec(id="7B"),))
FACTS = Facts(
    task="classification",
    models=(model_facts(ModelSpec(id="7B")),),
    data=DataFacts(rows=100, train_rows=80),
    hardware=CPU,
    aim=AimSpec(),
)


@pytest.fixture
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    monkeypatch.setattr("sweeper.facts.machine.hardware.detected_gpus", lambda: ())
    monkeypatch.setattr(
        "sweeper.facts.machine.hardware.processor", lambda: Processor("a cpu", 2, 16.0)
    )


def measure(*_: Any, **__: Any) -> None:
    write(
        Calibration(
            processor="a cpu", cores=2, versions=versions(), fp32_gflops=200.0,
            bandwidth_gb_per_second=40.0, when="2026-01-31",
        )
    )  # fmt: skip


@pytest.mark.usefixtures("quiet_machine")
def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_where, "ask", measure)
    found = calibrated(SIZE, FACTS).hardware
    assert (found.fp32_tflops, found.calibrated) == (0.2, "2026-01-31")
    known = FACTS.model_copy(update={"hardware": found})
    monkeypatch.setattr(plan_where, "ask", None)
    assert calibrated(SIZE, known) is known


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize(
    "hardware",
    [CPU.model_copy(update={"device": "cuda", "gpus": 1}),
     CPU.model_copy(update={"detected": False})],
    ids=["gpu", "stated"],
)  # fmt: skip
def test_only_a_processor_at_hand_is_measured(
    hardware: HardwareFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_where, "ask", None)
    facts = FACTS.model_copy(update={"hardware": hardware})
    assert calibrated(SIZE, facts) is facts


@pytest.mark.usefixtures("quiet_machine")
def test_a_failed_measurement_costs_nothing_but_certainty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        raise NoAnswer("it ended with 1", 1)

    monkeypatch.setattr(plan_where, "ask", fail)
    assert calibrated(SIZE, FACTS, told.append) is FACTS
    assert "could not be measured" in told[-1]
