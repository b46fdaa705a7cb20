"""A merged model gives the answers of the trial, or its record says how far it is from them."""

from pathlib import Path

import pytest
import torch
from saved_models import INPUTS
from transformers import AutoModelForCausalLM

import sweeper
from sweeper.errors import UsageError
from sweeper.features.exporting import _merge
from sweeper.features.exporting._merge import merge
from sweeper.features.exporting._weights import MergeRequest, kept_files
from sweeper.training.trial.reload import reload


@pytest.mark.parametrize("task", ["classification", "by name", "instruction"])
def test_a_merged_adapter_gives_the_logits_of_the_trial_without_its_base(saved, tmp_path, task):
    folder, before = saved(task, "lora")
    assert kept_files(folder).left_out == ()
    request = MergeRequest(weights=str(folder), folder=str(tmp_path / "merged"))
    merge(request)
    made = Path(request.folder)
    record = MergeRequest.read(made / "merged.json")
    assert record.difference < 1e-3
    chosen = "token is that of the trial at" if task == "instruction" else "class is that of the"
    assert f"the most likely {chosen}" in record.agreement_text
    assert not list(made.rglob("adapter_model.safetensors"))
    card = (made / "README.md").read_text()
    assert "- Strategy: lora, merged into the base\n" in card
    assert ("AutoModelForCausalLM" in card) is (task == "instruction")
    if task != "classification":  # what vLLM, Ollama and transformers read (docs/serving.md)
        needed = {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"}
        needed |= {"tokenizer_config.json", "chat_template.jinja", "README.md"}
        assert needed <= {path.name for path in made.iterdir()}
    model = sweeper.load(made, "cpu")
    with torch.inference_mode():
        found = model.model(**INPUTS)
    after = found if isinstance(found, torch.Tensor) else found.logits
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)
    if task != "classification":
        usual = AutoModelForCausalLM.from_pretrained(made).eval()
        with torch.inference_mode():
            torch.testing.assert_close(usual(**INPUTS).logits, after, atol=1e-5, rtol=0)


def test_float32_weights_are_in_main_memory_and_not_on_the_gpu(saved, tmp_path, monkeypatch):
    folder, _ = saved("instruction", "lora")
    asked = []

    def spied(weights, device=None, **options):
        asked.append((device, options))
        return reload(weights, device, **options)

    monkeypatch.setattr(_merge, "reload", spied)
    merge(MergeRequest(weights=str(folder), folder=str(tmp_path / "merged")))
    assert asked == [(torch.device("cpu"), {"to_merge": True})]


def test_a_merged_qlora_says_how_far_it_is_from_the_quantised_trial(saved, tmp_path):
    folder, _ = saved("instruction", "qlora")
    request = MergeRequest(weights=str(folder), folder=str(tmp_path / "merged"))
    merge(request)
    made = Path(request.folder)
    difference = MergeRequest.read(made / "merged.json").difference
    assert 0 < difference < 1
    card = (made / "README.md").read_text()
    assert f"at most {difference:.2g}" in card
    assert "On 7 passages" in card
    assert "This base is not quantised" in card


@pytest.mark.parametrize(
    ("name", "told"), [("prefix", "cannot be merged"), ("full", "whole model")]
)
def test_what_cannot_be_merged_is_refused_and_leaves_nothing(saved, tmp_path, name, told):
    folder, _ = saved("instruction", name)
    with pytest.raises(UsageError, match=told):
        merge(MergeRequest(weights=str(folder), folder=str(tmp_path / "merged")))
    assert not (tmp_path / "merged").exists()
