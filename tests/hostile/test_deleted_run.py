"""A run folder that is deleted during the run: the run ends, and does not make it again."""

import sys
from pathlib import Path

import pytest

from sweeper.errors import RunError
from sweeper.execution.coordinator import run_sweep
from sweeper.runfolder import RunFolder

EXECUTION = Path(__file__).parents[1] / "execution"


def test_a_deleted_run_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{EXECUTION.parents[1]}:{EXECUTION}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXECUTION)])
    from curve_backend import make_plan, make_spec

    run = RunFolder(tmp_path / "run")

    def delete(event, _status):
        if event.kind == "trial-started":
            run.path.rename(tmp_path / "trash")  # in one step, while a worker writes

    with pytest.raises(RunError) as caught, run.lock():
        run_sweep(run, make_spec(4), make_plan(4), backend="curve_backend:make", on_event=delete)
    assert caught.value.problems[0].where == str(run.path)
    assert not run.path.exists()
