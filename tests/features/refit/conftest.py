"""A backend with a tiny model, as the tests of training have it."""

from training_fixtures import (  # noqa: F401 - fixtures
    backend,
    config,
    kind,
    make_config,
    make_shared,
    model_folders,
    topics,
)
