"""What every test may rely on: a cache folder of its own, and the optional real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeper-home")


@pytest.fixture(autouse=True)
def sweeper_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test run; ``SWEEPER_TEST_HOME`` names one that outlives it."""
    home = Path(os.environ.get("SWEEPER_TEST_HOME", _session_home))
    monkeypatch.setenv("SWEEPER_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with small real data sets, which is not part of the project."""
    named = os.environ.get("SWEEPER_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data sets here: set SWEEPER_TEST_DATA to their folder")
    return folder
