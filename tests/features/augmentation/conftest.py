"""A local server in place of an endpoint, and small data sets to augment."""

import json
from functools import partial

import make_run as maker
import pytest
from augment_server import FakeServer, rows

from sweeper.data.load import load
from sweeper.spec import DataSpec


@pytest.fixture
def write(tmp_path):
    def file(name, content):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        return path

    return file


@pytest.fixture
def dataset(write):
    return load(DataSpec(path=str(write("rows.jsonl", rows()))), "classification")


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-written")
    with FakeServer() as running:
        yield running


@pytest.fixture
def make(tmp_path):
    """Writes a run folder: ``make(trials=20, ...)`` with the fields of ``make_run.Shape``."""
    return partial(maker.make_run, tmp_path, maker.Shape())
