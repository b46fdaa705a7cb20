import importlib.util
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent.parent / "reporting"


def _load(name):
    """A module of the tests of reporting, under its own name: tests are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, _FOLDER / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


_load("make_plan")
maker = _load("make_run")


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""

    def write(**changes):
        return maker.make_run(tmp_path, maker.Shape(), **changes)

    return write
