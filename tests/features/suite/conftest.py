"""The base models and data of the tests of training, and what trials share."""

from training_fixtures import make_shared, model_folders, topics  # noqa: F401 - fixtures
