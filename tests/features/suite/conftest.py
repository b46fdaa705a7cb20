"""The base models and data of the tests of training, and what trials share."""

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[2] / "training" / "conftest.py"
_spec = importlib.util.spec_from_file_location("training_fixtures", _FILE)
_training = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_training)

topics, model_folders, make_shared = (
    _training.topics,
    _training.model_folders,
    _training.make_shared,
)
