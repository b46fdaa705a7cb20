from __future__ import annotations

from typing import Any

import pytest

from sweeper.planning.planner import make_plan


def test_weights_that_are_here_cost_nothing(scene: Any) -> None:
    budget = make_plan(*scene()).budget
    assert not budget.phases.keys() & {"download", "conversion"}
    assert not any("download" in note for note in budget.notes)


def test_a_download_takes_its_bytes_at_the_assumed_rate_and_is_paid(scene: Any) -> None:
    here = make_plan(*scene()).budget
    budget = make_plan(*scene(model_changes={"missing": "download"})).budget
    download = budget.phases["download"]
    # 6.74 billion parameters in bfloat16 at 100 Mbit/s
    assert download.seconds == pytest.approx(1078, rel=0.01)
    assert download.low < download.seconds / 5
    assert download.high > download.seconds * 2
    assert budget.gpu_hours == pytest.approx(
        (here.gpu_hours or 0) + download.seconds / 3600, rel=0.001
    ), "a rented machine is paid while it downloads"
    (note,) = [note for note in budget.notes if "download" in note]
    assert "12.6 GiB" in note
    assert "assumed 100 Mbit/s" in note


def test_a_conversion_takes_as_long_as_it_was_measured(scene: Any) -> None:
    spec, facts = scene(model="smollm2", gpu_gib=None, model_changes={"missing": "conversion"})
    conversion = make_plan(spec, facts).budget.phases["conversion"]
    assert conversion.seconds == pytest.approx(25.8, abs=0.1)
    assert conversion.low < 20.5 < 36.8 < conversion.high
