"""Plans, runs, and the base models and data of the tests of training."""

from collections.abc import Callable

import pytest
from scenes import scene  # noqa: F401 - fixtures
from training_fixtures import (  # noqa: F401 - fixtures
    answering,
    byte_llama,
    heard,
    make_config,
    make_job,
    make_shared,
    model_folders,
    topics,
    turns,
)

from sweeper.runfolder import RunFolder


@pytest.fixture
def make(make_run: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """Writes a run."""
    return make_run
