"""Each benchmark of the execution measures something, on a study as small as can be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.execution.kills import PHASES, RAY_VICTIMS, VICTIMS, Kill, table, wishes

ROOT = Path(__file__).parents[3]


def measured(name: str, *words: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.execution.{name}", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("threads", [[], ["--threads"]])
def test_a_small_fleet_loses_nothing(threads: list[str]) -> None:
    words = ["--json", "--workers", "2", "--trials", "6", "--seconds", "0.4"]
    found = json.loads(measured("fleet", *words, *threads))
    assert found["faults"] == []
    assert (found["workers"], found["trials"]) == (2, 6)
    assert 0 < found["efficiency"] < 1
    assert 0 < found["verdict_seconds"][0] <= found["verdict_seconds"][1]
    spent = found["slept_seconds"] + found["idle_seconds"] + found["waited_seconds"]
    assert spent == pytest.approx(found["active_seconds"], rel=0.5)


def test_the_cost_of_a_trial_is_shown_by_its_parts() -> None:
    (names, *rows) = measured("cost", "--earlier", "4,8", "--trials", "2").splitlines()
    parts = ["ask", "verdicts", "tell", "study_file"]
    assert names.split() == ["earlier", *parts, "together", "dearest"]
    for row in rows:
        _, *parts, together, dearest = map(float, row.split())
        assert sum(parts) == pytest.approx(together, abs=0.001)
        assert dearest >= together


@pytest.mark.slow
def test_two_kills_are_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURVE_STEP_SECONDS", "0.005")
    said = measured("kills", "--kills", "2", "--keep", str(tmp_path))
    assert "faults 0" in said


@pytest.mark.parametrize(("count", "victims"), [(50, VICTIMS), (20, RAY_VICTIMS)])
def test_kills_are_spread_over_phases_and_victims(count: int, victims: tuple[str, ...]) -> None:
    wished = wishes(count, victims)
    phases, killed = (Counter(one[part] for one in wished) for part in (0, 1))
    assert set(phases.values()) == {count // len(PHASES)}
    assert max(killed.values()) - min(killed.values()) <= 2
    kills = [Kill(phase, victim, 0.0) for phase, victim in wished]
    assert table(kills, victims).splitlines()[-1].split()[-1] == str(count)
