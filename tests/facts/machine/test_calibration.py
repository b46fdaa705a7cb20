from __future__ import annotations

import pytest

from sweeper.facts.machine import calibration
from sweeper.facts.machine.calibration import Calibration, path_of, read, versions, write

FOUND = Calibration(
    processor="cpu",
    cores=2,
    versions=versions(),
    fp32_gflops=100.0,
    bandwidth_gb_per_second=20.0,
    when="2026-01-31",
)


def test_a_calibration_is_kept_for_its_machine_alone() -> None:
    assert write(FOUND) == path_of("cpu", 2)
    assert read("cpu", 2) == FOUND
    assert read("cpu", 1) is None
    assert read("other", 2) is None


def test_another_torch_needs_another_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    write(FOUND)
    monkeypatch.setattr(calibration, "versions", lambda: "torch 99")
    assert read("cpu", 2) is None


def test_a_damaged_file_counts_as_none() -> None:
    path = write(FOUND.model_copy(update={"cores": 3}))
    path.write_text("{")
    assert read("cpu", 3) is None
