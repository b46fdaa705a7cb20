"""The measurement of a processor before its first plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.errors import ChildFailed
from sweeper.facts.machine.hardware import Processor
from sweeper.facts.machine.measured import Calibration, store_calibration, versions
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import DataFacts, Facts, HardwareFacts
from sweeper.processes import probe_process
from sweeper.processes.probe_process import calibrated
from sweeper.spec import AimSpec, ModelSpec, Spec

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
    store_calibration(
        Calibration(
            processor="a cpu", cores=2, versions=versions(), fp32_gflops=200.0,
            bandwidth_gb_per_second=40.0, when="2026-01-31",
        )
    )  # fmt: skip


@pytest.mark.usefixtures("quiet_machine")
def test_a_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_process, "in_child", measure)
    found = calibrated(SIZE, FACTS).hardware
    assert (found.fp32_tflops, found.calibrated) == (0.2, "2026-01-31")
    known = FACTS.model_copy(update={"hardware": found})
    monkeypatch.setattr(probe_process, "in_child", None)
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
    monkeypatch.setattr(probe_process, "in_child", None)
    facts = FACTS.model_copy(update={"hardware": hardware})
    assert calibrated(SIZE, facts) is facts


@pytest.mark.usefixtures("quiet_machine")
def test_a_failed_measurement_costs_nothing_but_certainty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def fail(*_: Any, **__: Any) -> None:
        raise ChildFailed("it ended with 1")

    monkeypatch.setattr(probe_process, "in_child", fail)
    assert calibrated(SIZE, FACTS, told.append) is FACTS
    assert "could not be measured" in told[-1]
