from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeper.cli.main import app
from sweeper.errors import ChildFailed, UsageError
from sweeper.facts.gather import gather
from sweeper.facts.machine.hardware import Processor
from sweeper.facts.models.model import model_facts
from sweeper.memory.setup import Probed, ProbeRequest, Setup
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.processes import probe_process
from sweeper.processes.probe_process import probe, with_probes
from sweeper.spec import DataSpec, HardwareSpec, ModelSpec, Spec
from sweeper.steps import sweep as run_steps

MINILM = model_facts(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"))
SETUP = Setup(
    strategy="lora", micro_batch=8, sequence_length=32, precision="fp32", r=8, device="cpu"
)
ANSWER: dict[str, Any] = {
    "peak_gib": 0.5, "reserved_gib": None, "seconds_per_step": 0.25, "out_of_memory": False,
    "free_gib": 15.0, "total_gib": 16.0,
}  # fmt: skip
TOO_LARGE = ANSWER | {"peak_gib": None, "seconds_per_step": None, "out_of_memory": True}
SPEC = Spec(
    task="classification",
    models=(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"),),
    data=DataSpec(examples=2000),
)


class Torch:
    """Stands in for the process with torch: remembers what it was asked, says what it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda setup: ANSWER
        self.status = 0

    def __call__(self, _: str, request: ProbeRequest, answer: type[Probed], **named: Any) -> Probed:
        self.asked.append(request.model_dump())
        if self.status:
            error = ChildFailed(f"{named['what']} broke", fix=named["fix"], where=named["where"])
            error.status = self.status
            raise error
        return answer.model_validate(self.answer(self.asked[-1]["setup"]))


@pytest.fixture
def torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Torch:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    monkeypatch.setattr("sweeper.facts.machine.hardware.detected_gpus", lambda: ())
    monkeypatch.setattr(
        "sweeper.facts.machine.hardware.processor", lambda: Processor("a cpu", 2, 16.0)
    )
    process = Torch()
    monkeypatch.setattr(probe_process, "in_child", process)
    return process


def test_a_setup_that_was_measured_here_is_not_measured_again(torch: Torch) -> None:
    first = probe(MINILM, SETUP)
    assert (first.peak_gib, first.seconds_per_step, first.out_of_memory) == (0.5, 0.25, False)
    assert (first.classes, first.r, first.target_modules) == (0, 8, "all-linear")
    assert probe(MINILM, SETUP) == first
    assert len(torch.asked) == 1
    assert torch.asked[0]["setup"]["micro_batch"] == 8


@pytest.mark.parametrize(
    "changes", [{"padded": True}, {"classes": 3}, {"num_virtual_tokens": 50}, {"r": 16}], ids=str
)
def test_what_differs_in_anything_is_measured(torch: Torch, changes: dict[str, Any]) -> None:
    probe(MINILM, SETUP)
    probe(MINILM, SETUP.replace(**changes))
    assert len(torch.asked) == 2


@pytest.mark.parametrize(
    ("changes", "kept"),
    [({}, True), ({"free_gib": 9.0}, False)],
    ids=["alone", "beside-others"],
)
def test_what_does_not_fit_is_kept_only_where_nobody_else_took_the_memory(
    torch: Torch, changes: dict[str, Any], kept: bool
) -> None:
    torch.answer = lambda setup: TOO_LARGE | changes
    assert probe(MINILM, SETUP).out_of_memory
    probe(MINILM, SETUP)
    assert len(torch.asked) == (1 if kept else 2)


def test_a_process_that_the_system_ended_did_not_fit(torch: Torch) -> None:
    torch.status = -9
    found = probe(MINILM, SETUP)
    assert (found.out_of_memory, found.peak_gib) == (True, None)


def test_only_the_device_at_hand_is_probed(torch: Torch) -> None:
    with pytest.raises(UsageError, match="cuda"):
        probe(MINILM, Setup(strategy="lora", device="cuda"))
    assert torch.asked == []


def test_a_process_that_breaks_leaves_the_formulas_estimate(torch: Torch) -> None:
    torch.status = 1
    with pytest.raises(ChildFailed) as caught:
        probe(MINILM, SETUP)
    (problem,) = caught.value.problems
    assert (problem.where, "without --probe" in problem.fix) == ("--probe", True)


def test_the_memory_command_prints_it_beside_the_formula(torch: Torch) -> None:
    asked = ["memory", "--model", MINILM.id, "--cpu", "--precision", "fp32", "--probe"]
    told = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(told.stdout)["probe"]["peak_gib"] == 0.5
    assert "Probe: 0.50 GiB" in CliRunner().invoke(app, asked).stdout
    assert len(torch.asked) == 1


def planned(spec: Spec = SPEC) -> Plan:
    return make_plan(spec, gather(spec))


def test_a_plan_is_made_anew_with_a_step_of_each_candidate_that_takes_steps(torch: Torch) -> None:
    plain = planned()
    torch.answer = lambda setup: ANSWER | {"seconds_per_step": 30.0}
    probed = with_probes(SPEC, plain)
    trained = {each.strategy for each in plain.candidates} - {"head"}
    assert {asked["setup"]["strategy"] for asked in torch.asked} == trained
    assert all(asked["setup"]["classes"] == 2 for asked in torch.asked)
    assert len(probed.facts.hardware.measured) >= len(trained)
    lora = probed.candidate("lora")
    assert lora.duration.seconds > plain.candidate("lora").duration.seconds
    assert any("probe of lora" in note for note in lora.time_notes)
    asked = len(torch.asked)
    assert with_probes(SPEC, planned()) == probed == planned()
    assert len(torch.asked) == asked


def test_a_candidate_that_does_not_fit_makes_way_for_one_that_does(torch: Torch) -> None:
    plain = planned()
    largest = plain.candidate("full").setup.micro_batch
    torch.answer = lambda setup: TOO_LARGE if setup["micro_batch"] >= largest else ANSWER
    probed = with_probes(SPEC, plain)
    assert probed.candidate("full").setup.micro_batch < largest
    assert {asked["setup"]["micro_batch"] for asked in torch.asked} > {largest}


def test_a_probe_that_fails_costs_certainty_and_no_more(
    torch: Torch,
) -> None:
    told: list[str] = []
    torch.status = 1
    plain = planned()
    assert with_probes(SPEC, plain, told.append) is plain
    assert "lora of" in (said := "".join(told))
    assert "not probed: the probe broke" in " ".join(said.split())


def test_hardware_that_is_only_stated_cannot_be_probed(torch: Torch) -> None:
    spec = SPEC.model_copy(update={"hardware": HardwareSpec(gpu_memory_gib=24.0)})
    with pytest.raises(UsageError):
        with_probes(spec, planned(spec))
    assert torch.asked == []


@pytest.mark.parametrize(
    ("device", "detected", "flag", "probed"),
    [
        ("cuda", True, None, True),
        ("cuda", True, False, False),
        ("cuda", False, None, False),
        ("cpu", True, None, False),
        ("cpu", True, True, True),
    ],
)
def test_a_run_probes_by_itself_on_the_gpu_at_hand(
    torch: Torch,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    detected: bool,
    flag: bool | None,
    probed: bool,
) -> None:
    stated = SPEC.model_copy(update={"hardware": HardwareSpec(gpu_memory_gib=24.0)})
    facts = gather(stated if device == "cuda" else SPEC)
    hardware = facts.hardware.model_copy(update={"detected": detected, "calibrated": "2026-01-31"})
    facts = facts.model_copy(update={"hardware": hardware})
    asked: list[Plan] = []

    def with_them(spec: Spec, plan: Plan, _tell: object) -> Plan:
        asked.append(plan)
        return plan

    monkeypatch.setattr(run_steps, "rows_of", lambda *_: None)
    monkeypatch.setattr(run_steps, "gather", lambda *_, **__: facts)
    monkeypatch.setattr(probe_process, "with_probes", with_them)
    for name in ("must_be_trainable", "missing_weights"):
        monkeypatch.setattr(run_steps, name, lambda model: None)
    given = SPEC.model_copy(update={"data": DataSpec(path="rows.jsonl")})
    run_steps.prepare(given, check_model=True, probe=flag)
    assert len(asked) == probed
