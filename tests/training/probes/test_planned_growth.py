"""Planned beside measured memory: a few real steps of the packaged encoder, in a process.

The whole matrix of strategies and tasks is in ``benchmarks/memory``. ``test_dry_run.py``
compares the plan with tensors for each strategy.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import sweeper
from sweeper.features.explain._rules import request_of
from sweeper.memory.estimate import estimate, trial_gib
from sweeper.processes.probe_process import _setups, probe

pytestmark = pytest.mark.slow

#: Agreement: within this share of the measured figure, or within so many GiB.
SHARE, GIB = 0.2, 0.2
TOKENS = 96


def test_planned_and_measured_growth_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))  # nothing that was measured before
    plan = sweeper.plan(
        task="classification",
        model="packaged:minilm",
        examples=400,
        strategies=["full"],
        max_length=TOKENS,
    )
    if plan.facts.hardware.device != "cpu":
        pytest.skip("what a process grows by is measured on a CPU")
    ((model, setup, _),) = _setups(request_of(plan), plan)
    found = probe(model, setup, mean_length=8)
    assert found.peak_gib is not None
    planned = trial_gib(estimate(model, setup, 0.0))
    assert abs(planned - found.peak_gib) <= max(SHARE * found.peak_gib, GIB)
    assert planned > 2 * GIB  # so that the tolerance is not all of it
