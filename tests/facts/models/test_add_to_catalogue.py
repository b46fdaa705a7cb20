"""The script that adds a model to the catalogue from its ``config.json``."""

import json
import shutil
import subprocess
import sys

import pytest

from sweeper.facts.models import catalogue
from sweeper.facts.models.add_to_catalogue import add
from sweeper.resources import search_spaces

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
    "rope_theta": 10000.0,
    "layer_types": ["full_attention"] * 2,
}
COUNT = 99_136


@pytest.fixture
def own_catalogue(tmp_path, monkeypatch):
    """A copy of the catalogue that a test may write to."""
    for name in ("models.yaml", "families.yaml"):
        shutil.copy(search_spaces() / name, tmp_path / name)
    for module in ("resources", "facts.models.add_to_catalogue"):
        monkeypatch.setattr(f"sweeper.{module}.search_spaces", lambda: tmp_path)
    catalogue.entries.cache_clear()
    yield tmp_path / "models.yaml"
    catalogue.entries.cache_clear()


def test_only_what_decides_the_shape_is_kept(own_catalogue):
    more = {"source": "a test: its own", "parameters": COUNT, "also": ["acme/tiny-2"]}
    add("acme/tiny", CONFIG, more)
    catalogue.entries.cache_clear()
    entry = catalogue.entries()["acme/tiny"]
    kept = {name: value for name, value in CONFIG.items() if name not in ("architectures",)}
    del kept["rope_theta"]
    kept["dtype"] = kept.pop("torch_dtype")
    assert entry.config == kept
    assert (entry.source, entry.also, entry.parameters) == (
        "a test: its own",
        ("acme/tiny-2",),
        COUNT,
    )
    assert max(map(len, own_catalogue.read_text(encoding="utf-8").splitlines()[-8:])) <= 100


@pytest.mark.parametrize(
    ("model_id", "more", "said"),
    [
        ("acme/tiny", {"parameters": COUNT + 1}, "its shape gives 99,136 parameters"),
        ("acme/tiny", {"stated": "1B"}, "published are 1,000,000,000"),
        ("openai/gpt-oss-20b", {}, "is in the catalogue already"),
    ],
)
def test_a_wrong_count_and_a_known_id_are_refused(own_catalogue, model_id, more, said):
    before = own_catalogue.read_text(encoding="utf-8")
    with pytest.raises(catalogue.ModelError, match=said):
        add(model_id, CONFIG, {"source": "a test", **more})
    assert own_catalogue.read_text(encoding="utf-8") == before


def test_the_command_names_a_file_that_is_no_configuration(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps([]))
    module = "sweeper.facts.models.add_to_catalogue"
    done = subprocess.run(
        [sys.executable, "-m", module, tmp_path / "config.json", "acme/tiny", "--source", "a test"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "does not hold an object" in done.stderr
    assert "Traceback" not in done.stderr
