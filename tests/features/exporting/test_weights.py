"""Kept weights as a folder of their own; what PEFT alone would answer wrongly is refused."""

import json
from types import SimpleNamespace

import pytest

from sweeper.errors import UsageError
from sweeper.features.exporting._weights import copy_adapter, copy_model

BASE = {"folder": "bases/0f", "state": "ab"}
NO_TRIALS = SimpleNamespace(best_first=list)


@pytest.fixture
def weights(tmp_path):
    """Writes a weights folder as a trial keeps it; ``inside`` is where its adapter lies."""

    def make(strategy="lora", inside=".", **record):
        folder = tmp_path / "weights"
        (folder / inside).mkdir(parents=True)
        config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "/home/me/models/base"}
        (folder / inside / "adapter_config.json").write_text(json.dumps(config))
        (folder / inside / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "tokenizer.json").write_text("{}")
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*.*")]
        fields = {"strategy": strategy, "base_dtype": "bfloat16", "pooling": None, "files": files}
        (folder / "README.md").write_text("# Mine\n")
        (folder / "sweeper.json").write_text(json.dumps(fields | record))
        return folder

    return make


@pytest.mark.parametrize(("strategy", "inside"), [("lora", "."), ("qlora", "adapter")])
def test_an_adapter_names_its_published_base_and_how_to_load_it(
    weights, tiny_facts, tmp_path, strategy, inside
):
    facts = tiny_facts("acme/base", source="hub", revision="abc", license="mit")
    copy_adapter(weights(strategy, inside), tmp_path / "out", NO_TRIALS, facts)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/base", "abc")
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card
    assert ("quantization_config=four_bits" in card) == (strategy == "qlora")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"pooling": "mean"}, "does not load this classification head"),
        ({"strategy": "prefix"}, "does not give the answers of this trial"),
        ({"base": BASE}, "need a base model that the run made"),
    ],
)
def test_what_peft_would_answer_otherwise_is_refused(weights, tiny_facts, tmp_path, record, told):
    with pytest.raises(UsageError, match=told):
        copy_adapter(weights(**record), tmp_path / "out", NO_TRIALS, tiny_facts("acme/base"))
    assert not (tmp_path / "out").exists()


def test_a_model_is_copied_whole_and_never_over_another(weights, tmp_path):
    folder = weights(base_model="base")
    copy_model(folder, tmp_path / "out")
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    with pytest.raises(UsageError, check=lambda error: error.code == "folder-exists"):
        copy_model(folder, tmp_path / "out")


def test_the_path_of_a_base_does_not_leave_the_machine(weights, tmp_path):
    copy_model(weights(base_model="base", base_state="0f"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config == {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "base"}
    assert [f for f in (tmp_path / "out").iterdir() if b"/home" in f.read_bytes()] == []


def test_a_model_whose_base_lies_in_the_run_is_refused(weights, tmp_path):
    with pytest.raises(UsageError, check=lambda error: error.code == "base-in-run"):
        copy_model(weights(base=BASE), tmp_path / "out")
