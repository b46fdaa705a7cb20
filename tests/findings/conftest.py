import importlib.util
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).parent.parent / "reporting" / "make_run.py"


def _load():
    spec = importlib.util.spec_from_file_location("make_run_for_findings", _PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


maker = _load()


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""

    def write(**changes):
        return maker.make_run(tmp_path, maker.Shape(), **changes)

    return write
