"""Downloads from a hub bring a configuration, or safe weights and nothing that could run code."""

import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from sweeper.errors import ModelError
from sweeper.facts.models.hub_download import download
from sweeper.facts.models.model import missing_weights, model_facts, model_folder, must_be_trainable
from sweeper.spec import ModelSpec


def facts(model_id, **spec):
    return model_facts(ModelSpec(id=model_id, **spec))


def configurations(hub):
    """Requests for a model's files; the client may ask the hub for news of its own."""
    return {asked for asked in hub.asked if not asked[0].startswith("/api/")}


def test_only_the_configuration_is_fetched_and_its_commit_pinned(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = facts("acme/tiny", revision="v1")
    assert (found.source, found.revision) == ("hub", hub.commit)
    assert [path.name for path in Path(found.folder).iterdir()] == ["config.json"]
    assert found.parameters == 98_816
    assert configurations(hub) == {("/acme/tiny/resolve/v1/config.json", "Bearer hf_secret")}
    assert "hf_secret" not in found.model_dump_json()


def test_the_login_cache_is_used_where_no_variable_is_set(hub, tmp_path):
    (tmp_path / "token").write_text("hf_login\n")
    facts("acme/tiny")
    assert configurations(hub) == {("/acme/tiny/resolve/main/config.json", "Bearer hf_login")}


def test_a_fetched_configuration_is_planned_with_and_not_trained_on(hub, monkeypatch, capfd):
    spec = ModelSpec(id="acme/tiny")
    first = model_facts(spec)
    must_be_trainable(spec)  # the hub has the weights
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert model_facts(spec) == first
    assert missing_weights(spec) == "download"
    assert first.missing == "download"
    assert model_folder(spec.id) is None
    with pytest.raises(ModelError):
        must_be_trainable(spec)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        ("gated/llama", "its licence must be accepted first"),
        ("gated/llama", "/gated/llama, then set HF_TOKEN"),
        ("private/model", "private, gated, or does not exist"),
        ("old/model", "no revision 'v9'"),
        ("dataset/model", "has no config.json"),
        ("nobody/model", "the hub has no such model"),
        ("broken/model", "the hub answered 503"),
        ("text/model", "does not hold an object"),
    ],
)
def test_a_refusal_of_the_hub_is_said_in_words(hub, model_id, said):
    with pytest.raises(ModelError) as error:
        facts(model_id, revision="v9")
    assert said in str(error.value)


def test_a_hub_that_does_not_listen_is_named(hub, endpoint):
    endpoint("http://127.0.0.1:9")
    with pytest.raises(ModelError, check=lambda error: error.code == "no-model-here"):
        facts("acme/tiny")


def test_a_hub_that_does_not_answer_is_not_waited_for(hub, monkeypatch):
    given_up = threading.Event()
    monkeypatch.setattr("sweeper.facts.models.hub_download.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("sweeper.facts.models.hub_download._request", lambda *_: given_up.wait(300))
    with pytest.raises(ModelError, check=lambda error: error.code == "no-model-here"):
        facts("acme/tiny")
    given_up.set()


def test_a_download_brings_safe_weights_and_no_code(hub, tmp_path):
    spec = ModelSpec(id="acme/tiny")
    assert missing_weights(spec) == "download"
    must_be_trainable(spec)
    folder = download(spec)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    assert missing_weights(spec) is None
    found = model_facts(spec)
    assert (found.source, found.revision, found.folder) == ("hub", hub.commit, str(folder))
    assert found.missing is None


def test_a_download_tells_how_far_it_is_and_draws_nothing(hub, capfd):
    hub.weights = "w" * 3_000_000
    told = []
    try:
        download(ModelSpec(id="acme/tiny"), lambda *state: told.append(state))
    finally:
        hub.weights = "weights"
    assert told[-1] == (3, 3)
    assert all(done <= of <= 3 for done, of in told)
    assert capfd.readouterr().err == ""


def test_code_comes_only_where_it_was_allowed(hub):
    folder = download(ModelSpec(id="acme/tiny", trust_remote_code=True))
    assert (folder / "modelling.py").is_file()


def test_a_model_without_safe_weights_is_refused(hub):
    with pytest.raises(ModelError, check=lambda error: error.code == "unsafe-weights"):
        download(ModelSpec(id="acme/unsafe"))


def test_a_download_that_is_refused_says_so(hub):
    with pytest.raises(ModelError, match="gated/llama") as error:
        download(ModelSpec(id="gated/llama"))
    assert "/gated/llama if it has one" in str(error.value)
