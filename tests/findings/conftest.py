import make_run as maker
import pytest


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""

    def write(**changes):
        return maker.make_run(tmp_path, maker.Shape(), **changes)

    return write
