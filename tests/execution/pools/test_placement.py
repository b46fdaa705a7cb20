from __future__ import annotations

import pytest
from curve_backend import make_plan

from sweeper.execution.pools import placement
from sweeper.execution.pools.placement import (
    Demand,
    Machine,
    demand_of,
    machine_of,
    mismatch,
    place,
)
from sweeper.facts.machine.hardware import Device
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Plan


def machine(gpus: int = 0, gib: float = 24.0, cores: int = 8) -> Machine:
    return Machine(tuple(map(str, range(gpus))), gib, cores)


@pytest.mark.parametrize(
    ("workers", "on", "demand", "gpus", "threads"),
    [
        # On a processor: cores are divided, and never less than one.
        (1, machine(), Demand(2.0), [None], 8),
        (3, machine(), Demand(2.0), [None] * 3, 2),
        (12, machine(), Demand(2.0), [None] * 12, 1),
        # Workers are spread over the GPUs before two share one.
        (2, machine(2), Demand(10.0), ["0", "1"], 4),
        (3, machine(2), Demand(10.0), ["0", "1", "0"], 2),
        (4, machine(1, 80.0), Demand(20.0), ["0"] * 4, 2),
        # A trial on several GPUs has them to itself.
        (2, machine(4), Demand(20.0, gpus=2), ["0,1", "2,3"], 4),
        # One worker is started whatever the prediction says.
        (1, machine(1, 8.0), Demand(9.0), ["0"], 8),
        # Fewer GPUs here than the plan was made for: what is there is used.
        (1, machine(1), Demand(20.0, gpus=2), ["0"], 8),
    ],
)
def test_every_worker_gets_its_gpus_and_threads(
    workers: int, on: Machine, demand: Demand, gpus: list[str | None], threads: int
) -> None:
    environments, said = place(workers, on, demand)
    assert [each.get("CUDA_VISIBLE_DEVICES") for each in environments] == gpus
    assert {each["OMP_NUM_THREADS"] for each in environments} == {str(threads)}
    assert said == ""


@pytest.mark.parametrize(
    ("workers", "on", "demand", "started", "note"),
    [
        (
            4,
            machine(1),
            Demand(9.0, strategy="full"),
            2,
            "2 workers instead of 4: a full trial may need 9.0 GiB, and the GPU has 24.0 GiB for "
            "training",
        ),
        (
            8,
            machine(2, 16.0),
            Demand(15.0, strategy="qlora"),
            2,
            "2 workers instead of 8: a qlora trial may need 15.0 GiB, and each of the 2 GPUs has "
            "16.0 GiB for training",
        ),
        (
            3,
            machine(0, 7.0),
            Demand(6.5, strategy="full"),
            1,
            "1 worker instead of 3: a full trial may need 6.5 GiB, and the machine has 7.0 GiB "
            "for training",
        ),
        (
            3,
            machine(4),
            Demand(20.0, gpus=2, gpus_strategy="full"),
            2,
            "2 workers instead of 3: a full trial takes 2 GPUs, and there are 4",
        ),
    ],
)
def test_fewer_workers_than_asked_for_are_explained_in_numbers(
    workers: int, on: Machine, demand: Demand, started: int, note: str
) -> None:
    environments, said = place(workers, on, demand)
    assert len(environments) == started
    assert said == note


def test_the_largest_demands_of_memory_and_gpus_may_be_of_different_strategies() -> None:
    first, second, *others = make_plan().candidates
    memory = second.memory.model_copy(update={"high_gib": 7.5})
    wide, large = (
        first.model_copy(update={"strategy": "full", "setup": TrainingSetup(gpus=2)}),
        second.model_copy(update={"strategy": "head", "memory": memory}),
    )
    plan = make_plan().model_copy(update={"candidates": (wide, large, *others)})
    assert demand_of(plan) == Demand(7.5, 2, "head", "full")
    assert "a full trial takes 2 GPUs" in place(3, machine(4), demand_of(plan))[1]


def on(plan: Plan, **changes: object) -> Plan:
    """The plan for a machine with GPUs."""
    gpus = {"device": "cuda", "gpus": 4, "bf16": True}
    hardware = plan.facts.hardware.model_copy(update={**gpus, **changes})
    return plan.model_copy(update={"facts": plan.facts.model_copy(update={"hardware": hardware})})


def test_workers_that_share_a_gpu_have_a_share_of_its_memory() -> None:
    environments, _ = place(5, machine(2, 80.0), Demand(20.0))
    shares = [each["SWEEPER_GPU_SHARE"] for each in environments]
    assert shares == ["0.3333", "0.5000", "0.3333", "0.5000", "0.3333"]
    for alone in (machine(5), machine()):
        assert not any("SWEEPER_GPU_SHARE" in each for each in place(2, alone, Demand(2.0))[0])


def test_workers_get_the_gpus_that_were_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan()
    two = tuple(
        Device(name="A100", free_gib=80.0, capability=8.0, handle=handle)
        for handle in ("GPU-a", "GPU-b")
    )
    monkeypatch.setattr(placement, "detected_gpus", lambda: two)
    assert machine_of(plan).gpus == ()
    assert machine_of(on(plan)).gpus == ("GPU-a", "GPU-b")
    assert machine_of(on(plan)).memory_gib == plan.candidates[0].memory.limit_gib


def test_stated_gpus_that_nothing_lists_are_all_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = on(make_plan(), gpus=3)
    monkeypatch.setattr(placement, "detected_gpus", lambda: ())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine_of(plan).gpus == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert machine_of(plan).gpus == ("5", "7")


CPU = Device(kind="cpu", name="a processor", torch="2.13.0+cpu", total_gib=64.0)
CARD = Device(kind="cuda", name="A100", torch="2.13.0+cu130", total_gib=80.0, capability=8.0)


@pytest.mark.parametrize(
    ("planned", "device", "matches"),
    [
        ({"memory_gib": 79.0}, CARD, True),
        ({"memory_gib": 40.0}, CARD, True),  # of two cards the smaller one decided
        ({"memory_gib": 79.0}, CARD.model_copy(update={"total_gib": 9.5}), False),
        ({"memory_gib": 79.0}, CARD.model_copy(update={"capability": 7.5}), False),
        ({"memory_gib": 24.0}, CPU, False),
        ({"device": "cpu", "gpus": 0, "memory_gib": 60.0}, CARD, False),
        ({"device": "cpu", "gpus": 0, "memory_gib": 60.0}, CPU, True),
        ({"device": "cpu", "gpus": 0, "memory_gib": 900.0}, CPU, True),
    ],
)
def test_a_worker_on_another_device_than_the_plans_is_a_problem(
    planned: dict[str, object], device: Device, matches: bool
) -> None:
    found = mismatch(on(make_plan(), **planned).facts.hardware, device)
    assert (found is None) is matches
