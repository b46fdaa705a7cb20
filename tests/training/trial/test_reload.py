"""What a trial leaves loads in another process, in another place, and gives the same logits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from saved_models import INPUTS, PARAMETERS
from transformers import AutoModelForSequenceClassification

import sweeper
from sweeper.data.examples import Example
from sweeper.errors import UsageError

TASKS = ("classification", "by name", "instruction", "code", "domain")
# Run in a process of its own: loads every folder and keeps the logits for the same batch. Usual
# classes come first, while PEFT does not know what sweeper adds to it.
ASK = """
import json, sys, torch
import peft, transformers

(folders, base), inputs = json.load(sys.stdin), torch.load(sys.argv[1])
body = transformers.AutoModelForCausalLM.from_pretrained
ways = {
    name: getattr(library, name).from_pretrained
    for library, names in (
        (transformers, ("AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")),
        (peft, ("AutoPeftModel", "AutoPeftModelForCausalLM", "AutoPeftModelForFeatureExtraction",
                "AutoPeftModelForSequenceClassification")),
    )
    for name in names
}
ways["PeftModel"] = lambda folder: peft.PeftModel.from_pretrained(body(base), folder)

def logits(model):
    with torch.inference_mode():
        found = model(**inputs)
    return found if isinstance(found, torch.Tensor) else found.logits

usual = {}
for folder in folders:
    usual[folder] = {}
    for name, load in ways.items():
        try:
            model = load(folder)
        except (OSError, ValueError, KeyError):
            continue
        writes = hasattr(model, "generate")
        usual[folder][name] = logits(model.eval()) if writes else None

import sweeper

said = {folder: logits(sweeper.load(folder, "cpu").model) for folder in folders}
torch.save((usual, said), sys.argv[2])
"""
WRITERS = {"AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"}
# What may load a folder. The class of transformers that adds a head to a model which writes says
# so; to a classifier it must not add one.
USUAL = {
    "full": WRITERS,
    "lora": WRITERS | {"AutoPeftModelForCausalLM", "PeftModel"},
}


def test_every_strategy_of_every_task_loads_in_a_fresh_process_after_the_run_moved(
    saved, byte_llama, tmp_path
):
    expected = {}
    names = sorted(PARAMETERS)
    for task in TASKS:
        for name in names:
            if name != "head" or task == "classification":
                folder, logits = saved(task, name)
                expected[folder.name] = (name, logits)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    torch.save(INPUTS, tmp_path / "inputs.pt")
    folders = [str(tmp_path / "moved" / name) for name in expected]
    subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path / "inputs.pt"), str(tmp_path / "said.pt")],
        input=json.dumps([folders, str(byte_llama)]),
        text=True,
        check=True,
    )
    usual, said = torch.load(tmp_path / "said.pt")
    for folder in folders:
        name, logits = expected[Path(folder).name]
        writes = not Path(folder).name.startswith("classification")
        assert set(usual[folder]) == (USUAL.get(name, set()) if writes else set()), folder
        for found in usual[folder].values():
            if found is not None:
                torch.testing.assert_close(found, logits, rtol=0, atol=1e-5)
        near = 1e-2 if name == "qlora" else 1e-5
        torch.testing.assert_close(
            said[folder].float(), logits.float(), rtol=0, atol=near, msg=lambda m, f=folder: f + m
        )


@pytest.mark.parametrize("name", ["full", "lora", "head"])
def test_a_usual_class_refuses_a_classifier_and_invents_no_head(saved, name):
    folder, _ = saved("classification", name)
    config = json.loads((folder / "config.json").read_text())
    assert config["label2id"] == {"fruit": 0, "metal": 1, "river": 2}
    with pytest.raises(ValueError, match="sweeper_classifier"):
        AutoModelForSequenceClassification.from_pretrained(folder)


def test_predictions_come_in_the_order_of_the_texts(saved):
    folder, _ = saved("classification", "lora")
    model = sweeper.load(folder, "cpu")
    texts = ["the nile", "an old plum near some gold", "iron"]
    found = model.predict(texts, batch_size=2)
    shares = model.logits(texts).softmax(1)
    for row, one in zip(shares, found, strict=True):
        assert one.label == model.classes[int(row.argmax())]
        assert one.probabilities[one.label] == pytest.approx(float(row.max()), abs=1e-5)
    with pytest.raises(UsageError, match="text 2 "):
        model.predict(["a", " "])


def test_a_plain_text_is_continued_without_an_end_token_in_between(saved, monkeypatch):
    folder, _ = saved("domain", "lora")
    model, asked = sweeper.load(folder, "cpu"), []

    def generate(_model, _tokenizer, prompts, *_, **__):
        asked.extend(prompts)
        return [["."] for _ in prompts]

    monkeypatch.setattr("sweeper.use.trained_model.generate", generate)
    ((_, found),) = model.batches([Example("k", 1, text="gold and")])
    assert [prediction.text for prediction in found] == ["."]
    assert model.tokenizer.decode(asked[0], skip_special_tokens=False) == "gold and"


def test_too_little_memory_halves_the_batch(saved, monkeypatch):
    folder, _ = saved("classification", "lora")
    model, sizes = sweeper.load(folder, "cpu"), []
    classify = model._class_predictions

    def small(features):
        sizes.append(len(features))
        if len(features) > 2:
            raise torch.OutOfMemoryError
        return classify(features)

    monkeypatch.setattr(model, "_class_predictions", small)
    assert len(model.predict(["gold"] * 5, batch_size=8)) == 5
    assert sizes == [5, 4, 2, 2, 1]


def test_what_cannot_be_loaded_says_why(saved, byte_llama, tmp_path, monkeypatch):
    folder, _ = saved("instruction", "lora")

    def refused(match, folder=folder):
        with pytest.raises(UsageError, match=match):
            sweeper.load(folder, "cpu")

    model = sweeper.load(folder, "cpu")
    assert model.predict([]) == []
    for wrong in ("one text", [1]):
        with pytest.raises(UsageError):
            model.predict(wrong)
    run = tmp_path / "runs" / "whole-run"
    run.mkdir(parents=True)
    (run / "plan.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for given in (run, "whole-run"):
        refused(r"is a run(.|\n)*load_run\(.*\)\.winner\(\)", given)
    broken = shutil.copytree(folder, tmp_path / "tokenizer")
    text = (broken / "tokenizer.json").read_text()
    (broken / "tokenizer.json").write_text(text + " ")
    refused("tokenizer", broken)
    broken = shutil.copytree(folder, tmp_path / "pipe")
    os.mkfifo(broken / "added_tokens.json")
    refused("damaged", broken)
    broken = shutil.copytree(folder, tmp_path / "template")
    (broken / "chat_template.jinja").unlink()
    refused("damaged", broken)
    broken = shutil.copytree(folder, tmp_path / "cut")
    weights = broken / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused("damaged", broken)
    record = (folder / "sweeper.json").read_text()
    assert json.loads(record)["base_model"] == byte_llama.name
    assert str(byte_llama.parent) not in record
    changed = shutil.copytree(byte_llama, tmp_path / "elsewhere" / byte_llama.name)
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "other-cache"))
    refused("not on this machine")
    monkeypatch.chdir(changed.parent)
    sweeper.load(folder, "cpu")
    with (changed / "model.safetensors").open("ab") as file:
        file.write(b" ")
    refused("has changed")
    shutil.rmtree(changed)
    refused("not on this machine")
    refused("no trained model in this folder", tmp_path)
