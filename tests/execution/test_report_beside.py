"""The real command's report where no chart can be drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Sweeper, check_whole, ended_after

# In KiB. V8 reserves more address space than that when it starts; all else needs far less.
LIMITED = ["bash", "-c", 'ulimit -v 8000000; exec "$@"', "bash"]


class LimitedSweeper(Sweeper):
    """A command with little address space, and so have its workers."""

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        return LIMITED + super().command(trials, workers, seed)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[LimitedSweeper]:
    made = LimitedSweeper(tmp_path / "runs" / "run")
    with ended_after(made):
        yield made


def test_a_sweep_ends_well_without_charts_and_report_draws_them_later(
    limited: LimitedSweeper,
) -> None:
    code, out, errors = limited.ended_apart(4)
    assert code == 0, errors
    assert "report: " in out
    assert "the report has no charts: the drawing process was killed by" in errors
    check_whole(limited, 4)
    page = limited.run.report_html
    assert "The charts could not be drawn" in page.read_text()
    assert "<svg" not in page.read_text()

    command = [sys.executable, "-m", "sweeper", "report", "run"]
    whole = subprocess.run(command, cwd=limited.place, check=True, capture_output=True)
    assert whole.stderr == b""
    assert json.loads((limited.folder / "report.json").read_text())["no_charts"] == ""
    assert "could not be drawn" not in page.read_text()
    assert page.read_text().count("<svg") > 3
