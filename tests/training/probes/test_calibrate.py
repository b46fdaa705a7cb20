from __future__ import annotations

import pytest

from sweeper.training.probes import calibrate


def test_a_processor_is_measured_with_the_threads_that_torch_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibrate, "_FLOATS", 2**20)
    found = calibrate.calibrate()
    assert found.cores == calibrate.torch.get_num_threads()
    assert found.fp32_gflops > 0
    assert found.bandwidth_gb_per_second > 0


def test_the_fastest_of_some_runs_counts_and_the_first_does_not() -> None:
    ran = []
    assert calibrate.fastest(lambda: ran.append(1), repeats=3) >= 0
    assert len(ran) == 4
