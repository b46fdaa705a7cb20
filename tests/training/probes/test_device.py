"""What torch says of the device that trains, with a card that is made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sweeper.training.probes import device
from sweeper.training.probes.device import training_device
from sweeper.units import GIB


def test_without_a_gpu_it_is_the_processor() -> None:
    device = training_device()
    assert (device.kind, device.torch) == ("cpu", torch.__version__)
    assert device.total_gib > device.free_gib > 0


def test_a_gpu_has_a_name_and_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="NVIDIA L4", major=8, minor=9)
    for name, answer in {
        "is_available": True,
        "current_device": 0,
        "get_device_properties": card,
        "mem_get_info": (20 * GIB, 22 * GIB),
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    device = training_device()
    assert (device.kind, device.name) == ("cuda", "NVIDIA L4")
    assert (device.free_gib, device.total_gib, device.capability) == (20, 22, 8.9)


def test_a_processor_is_measured_with_the_threads_that_torch_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_FLOATS", 2**20)
    found = device.calibrate()
    assert found.cores == device.torch.get_num_threads()
    assert found.fp32_gflops > 0
    assert found.bandwidth_gb_per_second > 0


def test_the_fastest_of_some_runs_counts_and_the_first_does_not() -> None:
    ran = []
    assert device.fastest(lambda: ran.append(1), repeats=3) >= 0
    assert len(ran) == 4
