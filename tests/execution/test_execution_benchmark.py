from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_what_a_report_costs_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.execution.report_latency", "--trials", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.stderr
    _, row = done.stdout.splitlines()
    trials, computing, writing, reports, *gaps = map(float, row.split())
    assert (trials, reports, len(gaps)) == (6, 2, 3)
    assert computing > 0 < writing


def test_a_small_fleet_is_measured_and_loses_nothing() -> None:
    command = [sys.executable, "-m", "benchmarks.execution", "--json", "--storage", "journal"]
    command += ["--workers", "2", "--trials", "4", "--seconds", "0.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["faults"] == []
    assert (found["workers"], found["trials"]) == (2, 4)
    assert 0 < found["efficiency"] < 1
    assert found["calls"] > 4 * 8
