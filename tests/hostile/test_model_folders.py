"""Model folders from strangers: templates that never end, weights that are cut."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel, WordPiece

from sweeper.data.examples import Message
from sweeper.errors import ModelError
from sweeper.facts.models import chat_template as templates
from sweeper.facts.models.architecture import Settings
from sweeper.facts.models.chat_template import writer
from sweeper.facts.models.model_folder import loading_problem

ASKED = ((Message("user", "a"), Message("assistant", "b")),) * 2

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def written(tmp_path, source):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": source}))
    return writer(tmp_path)[0](ASKED)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (ENDLESS, "took longer"),
        ("{{ '%9999999999d' % 1 }}", "MemoryError"),
        ("{{ 'a' * 90000000 }}", "100,000,000 characters"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
    ids=["nested ranges", "padded format", "long output", "division", "recursion"],
)
def test_a_hostile_chat_template_is_a_message(tmp_path, monkeypatch, source, says):
    monkeypatch.setattr(templates, "TIMEOUT_SECONDS", 3 if says == "took longer" else 30)
    with pytest.raises(ModelError) as caught:
        written(tmp_path, source)
    assert says in str(caught.value)


def test_a_template_that_refuses_or_is_none_measures_the_turns(tmp_path):
    for source in ("{{ raise_exception('no') }}", "{% if %}", "{{ ''.__class__.__mro__ }}"):
        assert written(tmp_path, source) == ["a\nb", "a\nb"]
    assert written(tmp_path, "{% for m in messages %}<{{ m.content }}>{% endfor %}")[0] == "<a><b>"


@pytest.fixture
def folder(tmp_path):
    """A folder that can be loaded, as far as headers tell."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"w": np.zeros((8, 8), np.float32)}, tmp_path / "model.safetensors")
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    assert loading_problem(tmp_path, False) is None
    return tmp_path


def test_cut_and_wrong_weights_are_found_by_their_header(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-4], whole[:20], b"", b"\xff" * 64, whole + b"more"):
        path.write_bytes(content)
        assert "weights are damaged" in str(loading_problem(folder, False))


def test_a_shard_that_is_missing_is_named(folder):
    index = folder / "model.safetensors.index.json"
    for name in ("model-2.safetensors", ["a"], {}, 3, "\0", "a" * 5000):
        index.write_text(json.dumps({"weight_map": {"w": name}}))
        found = loading_problem(folder, False)
        assert f"{name} is missing" in found.what
        assert found.where == str(index)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"model": 3}'])
def test_a_tokenizer_that_cannot_be_parsed_is_a_message(folder, text):
    (folder / "tokenizer.json").write_text(text)
    assert "tokenizer cannot be read" in str(loading_problem(folder, False))


def test_a_tokenizer_without_its_unknown_token_is_a_message(folder):
    Tokenizer(WordPiece({}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    assert loading_problem(folder, False).where == str(folder / "tokenizer.json")


@pytest.mark.parametrize("kind", [3, ["bert"], {"a": 1}, 1e308])
def test_a_model_type_that_is_no_text_is_a_message(kind):
    with pytest.raises(ModelError) as caught:
        Settings({"model_type": kind}, "config.json")
    assert caught.value.problems[0].where == "config.json"


@pytest.mark.parametrize("kind", ["mystery", "../bert", "", 3])
def test_a_type_that_needs_own_code_is_refused_unless_it_is_trusted(folder, kind):
    config = {"model_type": kind, "auto_map": {"AutoConfig": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert "trust_remote_code" in str(loading_problem(folder, False))
    assert loading_problem(folder, True) is None


def test_a_known_type_with_own_code_is_loaded_without_it(folder):
    config = {"model_type": "gemma3_text", "auto_map": {"AutoConfig": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert loading_problem(folder, False) is None
