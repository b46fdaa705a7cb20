"""The fixtures of training; tests of features take what they need of the same module."""

from saved_models import saved  # noqa: F401 - a fixture
from training_fixtures import (  # noqa: F401 - fixtures
    answering,
    backend,
    byte_llama,
    config,
    heard,
    kind,
    make_config,
    make_job,
    make_shared,
    model_folders,
    topics,
    turns,
)

# Programs that tests run, and which need what is not installed for all.
collect_ignore = ["base_model/interpreted_kernels.py"]
