"""Plans, runs, and the base models and data of the tests of training."""

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
