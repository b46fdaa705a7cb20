"""Trained models, as the tests of training have them."""

from saved_models import saved  # noqa: F401 - a fixture
from training_fixtures import (  # noqa: F401 - fixtures
    byte_llama,
    make_config,
    model_folders,
    topics,
    turns,
)
