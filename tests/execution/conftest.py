"""What all execution tests stand on: the curve backend, commands that leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from commands import (  # noqa: F401 - fixtures among them
    Sweeper,
    assert_whole,
    commands,
    ended_after,
    workers_find_the_backend,
)
from training_fixtures import model_folders  # noqa: F401 - a fixture


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[Sweeper]:
    made = Sweeper(tmp_path / "runs" / "run")
    with ended_after(made):
        yield made


optuna.logging.set_verbosity(optuna.logging.WARNING)
