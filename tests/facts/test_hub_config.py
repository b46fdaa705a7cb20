"""One configuration from a hub, or in words what kept it from coming."""

import threading

import pytest

from sweeper.errors import ModelError
from sweeper.facts.model import model_facts
from sweeper.spec import ModelSpec


def facts(model_id, **spec):
    return model_facts(ModelSpec(id=model_id, **spec))


def test_only_the_configuration_is_fetched_and_its_commit_pinned(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = facts("acme/tiny", revision="v1")
    assert (found.source, found.revision, found.folder) == ("hub", hub.commit, None)
    assert found.parameters == 99_136
    assert hub.asked == [("/acme/tiny/resolve/v1/config.json", "Bearer hf_secret")]
    assert "hf_secret" not in found.model_dump_json()


def test_the_login_cache_is_used_where_no_variable_is_set(hub, tmp_path):
    (tmp_path / "token").write_text("hf_login\n")
    facts("acme/tiny")
    assert hub.asked == [("/acme/tiny/resolve/main/config.json", "Bearer hf_login")]


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
        ("text/model", "is not an object"),
    ],
)
def test_a_refusal_of_the_hub_is_said_in_words(hub, model_id, said):
    with pytest.raises(ModelError) as error:
        facts(model_id, revision="v9")
    assert said in str(error.value)


def test_a_hub_that_does_not_listen_is_named(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        facts("acme/tiny")


def test_a_hub_that_does_not_answer_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr("sweeper.facts.hub_config.SECONDS", 0.2)
    monkeypatch.setattr("sweeper.facts.hub_config._request", lambda *_: threading.Event().wait(2))
    with pytest.raises(ModelError, match=r"did not answer within 0\.2 seconds"):
        facts("acme/tiny")
