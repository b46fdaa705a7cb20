import make_run as maker
import pytest


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals of a quarter of the resamples: half of the time that findings take."""
    monkeypatch.setattr("sweeper.evaluation.significance.RESAMPLES", 1000)


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""

    def write(**changes):
        return maker.make_run(tmp_path, maker.Shape(), **changes)

    return write
