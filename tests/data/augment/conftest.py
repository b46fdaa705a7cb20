"""A local server in place of an endpoint, and small data sets to augment."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sweeper.data.load import load
from sweeper.spec import DataSpec


def _server_module():
    """Under its own name: tests are no package."""
    if "augment_server" not in sys.modules:
        path = Path(__file__).with_name("server.py")
        spec = importlib.util.spec_from_file_location("augment_server", path)
        module = sys.modules["augment_server"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["augment_server"]


fake = _server_module()

TOPICS = {
    "fruit": ("apple", "pear", "plum", "cherry"),
    "metal": ("iron", "zinc", "gold", "copper"),
}
PLACES = ("market", "harbour", "village", "museum", "school", "garden", "station", "theatre")


def rows(count=80):
    """Short questions of two classes, no two of them alike."""
    found = []
    for number in range(count):
        label = sorted(TOPICS)[number % 2]
        word = TOPICS[label][number // 2 % 4]
        place, other = PLACES[number % 8], PLACES[(number // 8 + number) % 8]
        text = f"please tell me what {word} number {number} costs at the {place} or the {other}"
        if number % 5 == 0:
            text += " and whether it is cheaper there on sundays than on all other days of the week"
        found.append({"text": text, "label": label})
    return found


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
    with fake.FakeServer() as running:
        yield running
