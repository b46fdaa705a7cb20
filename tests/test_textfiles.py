"""Reading untrusted text files and JSON, and writing files atomically."""

import os

import pytest

from sweeper import textfiles
from sweeper.artifact import Artifact
from sweeper.errors import UsageError
from sweeper.facts.models.chat_template import writer
from sweeper.facts.models.model_folder import loading_problem, read_json
from sweeper.textfiles import read_text
from sweeper.yamlfile import read


@pytest.fixture(params=["pipe", "device"])
def endless(tmp_path, request):
    """Makes a pipe without a writer, or a link to a device that never ends."""

    def make(name):
        path = tmp_path / name
        if request.param == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        return path

    return make


def test_what_never_ends_is_refused_wherever_text_is_read(endless):
    with pytest.raises(OSError, match="not a regular file"):
        read_text(endless("x"))
    for read_it, name in ((read, "sweep.yaml"), (Artifact.read, "plan.json")):
        with pytest.raises(UsageError):
            read_it(endless(name))
    with pytest.raises(UsageError):
        read_json(endless("config.json"))


def test_a_template_and_a_tokenizer_that_never_end_are_not_read(endless, tmp_path):
    endless("chat_template.jinja")
    endless("tokenizer_config.json")
    assert writer(tmp_path)[1] == "a ChatML template"
    (tmp_path / "config.json").write_text("{}")
    endless("tokenizer.json")
    assert "the tokenizer is not a regular file" in str(loading_problem(tmp_path, False))
    endless("model.safetensors")
    assert "the weights are not a regular file" in str(loading_problem(tmp_path, False))


def test_a_text_has_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(textfiles, "MAX_BYTES", 10)
    (tmp_path / "x").write_text("a" * 10)
    assert read_text(tmp_path / "x") == "a" * 10
    (tmp_path / "x").write_text("a" * 11)
    with pytest.raises(OSError, match="larger than"):
        read_text(tmp_path / "x")
