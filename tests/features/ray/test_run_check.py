"""What a machine of the cluster must have before a worker starts there."""

from __future__ import annotations

from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec

from sweeper.execution.job import Briefing
from sweeper.features.ray._run_check import mark_folder, problems_here
from sweeper.runfolder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    make_plan(1).write(made.plan)
    return made


def test_a_machine_that_cannot_see_the_run_says_what(run: RunFolder) -> None:
    briefing = mark_folder(run, Briefing(spec=make_spec(1), backend="curve_backend:make"))
    other = briefing.model_copy(update={"mark": "of another folder", "version": "0.0.1"})
    problems = [problem.what for problem in problems_here(run, other)]
    assert "has sweeper" in problems[0]
    assert "this folder is a copy of the run's folder" in problems[1]
    gone = RunFolder(run.path / "elsewhere")
    assert "cannot be seen" in problems_here(gone, briefing)[0].what
