"""Downloads bring safe weights and nothing that could run code."""

import pytest

from sweeper.errors import ModelError
from sweeper.facts.hubdownload import download
from sweeper.facts.model import model_facts, must_be_trainable, needs_download
from sweeper.spec import ModelSpec


def test_a_download_brings_safe_weights_and_no_code(online, tmp_path):
    spec = ModelSpec(id="acme/tiny")
    assert needs_download(spec)
    must_be_trainable(spec)
    folder = download(spec)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    assert not needs_download(spec)
    found = model_facts(spec)
    assert (found.source, found.revision, found.folder) == ("hub", online.commit, str(folder))


def test_a_download_tells_how_far_it_is_and_draws_nothing(online, capfd):
    online.weights = "w" * 3_000_000
    told = []
    try:
        download(ModelSpec(id="acme/tiny"), lambda *state: told.append(state))
    finally:
        online.weights = "weights"
    assert told[-1] == (3, 3)
    assert all(done <= of <= 3 for done, of in told)
    assert capfd.readouterr().err == ""


def test_code_comes_only_where_it_was_allowed(online):
    folder = download(ModelSpec(id="acme/tiny", trust_remote_code=True))
    assert (folder / "modelling.py").is_file()


def test_a_model_without_safe_weights_is_refused(online):
    with pytest.raises(ModelError, match="no weights in safetensors format"):
        download(ModelSpec(id="acme/unsafe"))


def test_a_download_that_is_refused_says_so(online):
    with pytest.raises(ModelError, match="gated/llama cannot be downloaded") as error:
        download(ModelSpec(id="gated/llama"))
    assert "/gated/llama if it has one" in str(error.value)
