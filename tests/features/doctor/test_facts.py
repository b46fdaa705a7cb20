"""The first use of a GPU: what fails there is left out of the plan, and tried once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scenes import make_scene

from sweeper.facts.gather import gather
from sweeper.facts.machine import hardware
from sweeper.facts.machine.hardware import Device
from sweeper.features.doctor import _results, facts
from sweeper.features.doctor._results import Result, Results
from sweeper.features.parts import record_of
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.spec import DataSpec, HardwareSpec

CARD = Device(name="NVIDIA Unknown 9000", free_gib=40.0, capability=8.0, handle="GPU-1")
Try = Callable[..., Plan]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, sweeper_home: Any, tmp_path: Any) -> list[bool]:
    """What was tried on the card of this machine, in whose checks nothing fails yet."""
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    monkeypatch.setattr(hardware, "detected_gpus", lambda: (CARD,))
    monkeypatch.setattr(hardware, "find_spec", lambda name: name in ("flash_attn", "liger_kernel"))
    monkeypatch.setattr(hardware, "joins_rows", lambda _capability: True)
    return []


@pytest.fixture
def plan(tried: list[bool], monkeypatch: pytest.MonkeyPatch) -> Try:
    """The plan of a run, or one without a run, where these checks fail."""

    def made(*failed: str, for_run: bool = True) -> Plan:
        states = [Result(name="device", state="ok", figures={"capability": 8.0})]
        states += [Result(name=name, state="failed", detail="no kernel") for name in failed]

        def results(*_: Any) -> Results:
            tried.append(True)
            return Results(versions={}, results=tuple(states))

        monkeypatch.setattr(facts, "results", results)
        spec, stated = make_scene()
        spec = spec.model_copy(update={"data": DataSpec(examples=4000)})
        found = gather(spec, models=stated.models, for_run=for_run)
        return make_plan(spec, found)

    return made


def lora(plan: Plan) -> dict[str, Any]:
    candidate = next(one for one in plan.candidates if one.strategy == "lora")
    values = candidate.defaults()
    shown = ("padding_free", "attn_implementation")
    fused = {"fused_kernels": plan.facts.hardware.fused_kernels}
    return (
        fused
        | {"precision": candidate.setup.precision}
        | {name: values.get(name) for name in shown}
    )


@pytest.mark.parametrize(
    ("failed", "changed"),
    [
        ((), {}),
        (("joined rows",), {}),  # FlashAttention joins rows, too
        (("flash_attention_2",), {"attn_implementation": None}),
        (
            ("flash_attention_2", "joined rows"),
            {"attn_implementation": None, "padding_free": None},
        ),
        (("bf16-mixed",), {"precision": "fp32"}),
        (("bf16-mixed", "joined rows"), {"precision": "fp32", "padding_free": None}),
        (("fused kernels",), {"fused_kernels": False}),
    ],
)
def test_what_fails_is_not_planned(
    plan: Try, failed: tuple[str, ...], changed: dict[str, Any]
) -> None:
    usual = {"fused_kernels": True} | {
        "precision": "bf16-mixed", "padding_free": True, "attn_implementation": "flash_attention_2"
    }  # fmt: skip
    made = plan(*failed)
    assert lora(made) == usual | changed
    said = [text for text in made.facts.data.warnings if "no kernel" in text]
    assert [text.split()[0] for text in said] == [name.split()[0] for name in failed]


@pytest.mark.parametrize(("failed", "precision"), [((), "fp16-mixed"), (("fp16-mixed",), "fp32")])
def test_an_old_card_whose_half_precision_fails_trains_in_float32(
    plan: Try, monkeypatch: pytest.MonkeyPatch, failed: tuple[str, ...], precision: str
) -> None:
    old = Device(name="Quadro RTX 8000", free_gib=45.0, capability=7.5, handle="GPU-2")
    monkeypatch.setattr(hardware, "detected_gpus", lambda: (old,))
    assert lora(plan(*failed))["precision"] == precision


def test_qlora_is_excluded_where_four_bits_fail(plan: Try) -> None:
    assert "qlora" not in {one.strategy for one in plan("4-bit").candidates}


def test_a_card_is_tried_once_for_each_driver_and_before_runs_alone(
    plan: Try, tried: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan("bf16-mixed", for_run=False)
    assert tried == []
    plan("bf16-mixed")
    plan()
    assert lora(plan(for_run=False))["precision"] == "fp32"
    assert tried == [True]
    monkeypatch.setattr(_results, "versions", lambda: {"driver": "600.1"})
    assert lora(plan())["precision"] == "bf16-mixed"
    assert tried == [True, True]


OK = Result(name="device", state="ok", figures={"capability": 8.0})
WITHOUT_BF16 = Result(name="bf16-mixed", state="failed")


@pytest.mark.parametrize(
    ("states", "timed_out", "failed"),
    [
        ((Result(name="process", state="failed"),), False, set()),
        # As on a CPU, which a torch without CUDA takes.
        ((Result(name="device", state="failed"), WITHOUT_BF16), False, set()),
        ((OK, WITHOUT_BF16, Result(name="4-bit", state="not run")), True, {"bf16-mixed"}),
    ],
)
def test_what_could_not_be_tried_is_tried_again(
    plan: Try,
    tried: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    states: tuple[Result, ...],
    timed_out: bool,
    failed: set[str],
) -> None:
    broken = Results(versions={}, results=states, timed_out=timed_out)
    plan_of = plan

    def results(*_: Any) -> Results:
        tried.append(True)
        return broken

    spec, stated = make_scene()
    spec = spec.model_copy(update={"data": DataSpec(examples=4000)})
    monkeypatch.setattr(facts, "results", results)
    found = gather(spec, models=stated.models, for_run=True)
    assert found.hardware.bf16 is not bool(failed)
    record = record_of(found.features, "doctor", facts.DoctorFacts)
    assert (record.failed.keys() if record else set()) == failed
    assert lora(plan_of())["precision"] == "bf16-mixed"
    assert tried == [True, True]


@pytest.mark.parametrize("stated_gib", [None, 24.0])
def test_a_cpu_and_a_stated_gpu_are_not_tried(
    tried: list[bool], monkeypatch: pytest.MonkeyPatch, stated_gib: float | None
) -> None:
    monkeypatch.setattr(hardware, "detected_gpus", lambda: () if stated_gib is None else (CARD,))
    monkeypatch.setattr(facts, "results", lambda *_: tried.append(True))
    spec, stated = make_scene()
    machine = HardwareSpec(gpu_memory_gib=stated_gib)
    spec = spec.model_copy(update={"data": DataSpec(examples=4000), "hardware": machine})
    found = gather(spec, models=stated.models, for_run=True)
    assert (found.hardware.detected, found.hardware.device) == (
        stated_gib is None, "cpu" if stated_gib is None else "cuda",
    )  # fmt: skip
    assert tried == []
