"""Real sweeps that train on parts of the rows."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import curve_backend
import pytest
from curve_backend import make_plan, make_spec

from sweeper.execution.coordinator import RunOutcome, run_sweep
from sweeper.execution.state.work_items import training_on_rows
from sweeper.features.data_curve import phase
from sweeper.features.data_curve.phase import longest_seconds
from sweeper.plans import PhaseCost
from sweeper.runfolder import RunFolder
from sweeper.trials import TestSeal, TrialConfig

pytestmark = pytest.mark.usefixtures("preloaded")
BACKEND = "curve_backend:make"
ASKED = {"data_curve": {"enabled": True}}


def sweep(run: RunFolder, trials: int, **more: object) -> RunOutcome:
    return run_sweep(run, make_spec(trials, 1, **more), make_plan(trials), backend=BACKEND)


def points(run: RunFolder) -> dict[str, list[int]]:
    """The data curve's trainings that are done: trial and rows, with their seeds."""
    found: dict[str, list[int]] = {}
    for path in run.trials.glob("*/rows/*/*/result.json"):
        trial, _, rows, seed = path.parent.parts[-4:]
        found.setdefault(f"{trial}/{rows}", []).append(int(seed))
    return {name: sorted(seeds) for name, seeds in sorted(found.items())}


def test_a_run_that_has_ended_gets_its_data_curve_though_it_is_killed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    sweep(run, 3)
    order = TestSeal.read(run.test_seal)
    assert points(run) == {}
    program = [sys.executable, curve_backend.__file__, str(run.path), "3"]
    environment = {**os.environ, "CURVE_STEP_SECONDS": "0.005", "CURVE_FEATURES": json.dumps(ASKED)}
    command = subprocess.Popen([*program, "1", "0"], env=environment, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while len(points(run)) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
    command.kill()
    command.wait()
    kept = {path: path.stat().st_mtime_ns for path in run.trials.glob("*/rows/*/*/result.json")}
    assert kept
    assert sweep(run, 3, features=ASKED).kind == "complete"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    configs = [TrialConfig.read(run.trial(n) / "config.json") for n in range(3)]
    winner = order.recommended
    assert winner is not None
    default = next(
        c.number
        for c in configs
        if c.strategy == configs[winner].strategy and c.origin == "default"
    )
    found = points(run)
    for size in (25, 50, 100):
        for number in {winner, default}:
            assert found[f"{number}/{size}"] == [0, 1, 2]
    # The confirmation trained the winner on all rows with these seeds already.
    assert f"{winner}/200" not in found
    config = TrialConfig.read(run.trial(winner) / "rows" / "25" / "1" / "config.json")
    assert (config.train_rows, config.seed, config.keep_weights) == (25, 1, False)
    assert TestSeal.read(run.test_seal) == order


def test_a_data_curve_is_made_unasked_while_the_budget_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase, "longest_seconds", lambda _study, _work: 5000.0)
    cost = PhaseCost(title="data curve", seconds=2, optional=True, planned=False)
    offered = {"features": {"data_curve": cost}}

    def told(name: str, budget: dict[str, object], enabled: bool | None) -> str:
        plan, run = make_plan(3), RunFolder(tmp_path / name)
        plan = plan.model_copy(update={"budget": plan.budget.model_copy(update=budget)})
        outcome = run_sweep(
            run, make_spec(3, 1, {"data_curve": {"enabled": enabled}}), plan, backend=BACKEND
        )
        assert outcome.kind == "complete"
        assert ("data_curve" in outcome.status.phases) is bool(points(run))
        decided = outcome.status.optional_phases.get("data_curve")
        return decided.text if decided else ""

    poor = offered | {"limit_seconds": 1000.0}
    left = told("run", poor, None)
    assert re.search(r"1[67] min were left .*, and it takes up to 83 min", left)
    run = RunFolder(tmp_path / "run")
    assert points(run) == {}
    unmade = told("run", offered, None)
    assert unmade.endswith("not cheap compared with the search")
    rich = offered | {"limit_seconds": 100_000.0}
    assert told("run", rich, False) == unmade  # nothing new was decided
    assert points(run) == {}
    made = told("run", rich, None)
    assert made.startswith("a data curve was made: 27.8 h were left")
    assert {len(seeds) for seeds in points(run).values()} == {3}
    # One that was begun goes on, even where nothing is left.
    shutil.rmtree(next(run.trials.glob("*/rows/25/0")))
    assert told("run", poor, None) == made
    assert {len(seeds) for seeds in points(run).values()} == {3}
    assert told("run", poor, True) == made


def test_a_curve_is_forecast_from_the_trials_that_it_repeats() -> None:
    def result(stopped: int | None = None) -> Any:
        return SimpleNamespace(
            training_seconds=9.0, evaluation_seconds=1.0, setup_seconds=0.0, stopped_at_rung=stopped
        )

    config = SimpleNamespace(budget=SimpleNamespace(rungs=8))
    study: Any = SimpleNamespace(
        plan=SimpleNamespace(searched_rows=100),
        results={4: result(), 0: result(stopped=4)},
        configs={4: config, 0: config},
        workers=2,
    )
    work = [training_on_rows(4, 25, 0), training_on_rows(4, 50, 0), training_on_rows(0, 100, 0)]
    # 9 s of training and 1 s of scoring; the one that was stopped would have taken twice as long.
    whole = (9 / 4 + 1) + (9 / 2 + 1) + (18 + 2)
    assert longest_seconds(study, work) == pytest.approx(whole / 2 * math.exp(0.2))
