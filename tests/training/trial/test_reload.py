"""What a trial leaves loads in another process, in another place, and gives the same logits."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import sweeper
from sweeper.errors import UsageError
from sweeper.spec import ModelSpec, Spec, TrainingSpec
from sweeper.strategies.base import Setting, strategies
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.artifacts import save_trained
from sweeper.training.trial.trial_job import TrialJob
from sweeper.use.__main__ import answer
from sweeper.use.merge import merge
from sweeper.use.request import MergeRequest, PredictionRequest

LOW_RANK = {"r": 4, "lora_alpha": 8, "target_modules": "qkvo"}
PARAMETERS = {
    "full": {},
    "head": {},
    "lora": LOW_RANK,
    "qlora": LOW_RANK,
    "adapter": {"reduction_factor": 4},
    "prefix": {"num_virtual_tokens": 2},
    "ptuning": {"num_virtual_tokens": 2},
}
TASKS = ("classification", "by name", "instruction", "code", "domain")
INPUTS = {"input_ids": torch.tensor([[70, 71, 72, 73], [75, 76, 77, 78]])}
INPUTS["attention_mask"] = torch.ones_like(INPUTS["input_ids"])
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


@pytest.fixture
def saved(byte_llama, topics, turns, make_config, tmp_path):
    """Saves a trained model of a task and strategy; gives its folder and its logits."""
    talks = {name: turns(4, place) for place, name in enumerate(topics.splits)}
    conversations = replace(topics, format="messages", splits=talks, labels=())
    contexts = {}

    def shared(task: str) -> SharedModel:
        if task not in contexts:
            by = "generate" if task == "by name" else "head"
            name = "classification" if task == "by name" else task
            classifies = name == "classification"
            named = ModelSpec(id=str(byte_llama))
            spec = Spec(task=name, models=(named,), training=TrainingSpec(classes_by=by))
            facts = facts_of(byte_llama)
            data = topics if classifies else conversations
            contexts[task] = SharedModel(
                ModelContext(named, facts, byte_llama, data, spec, 256, 8, torch.device("cpu"))
            )
        return contexts[task]

    def save(task: str, name: str) -> tuple[Path, torch.Tensor]:
        strategy, own = strategies()[name], PARAMETERS[name]
        context = shared(task).context
        kind = context.spec.task
        config = make_config(task=kind, strategy=name, parameters=own, sequence_length=256)
        folder = tmp_path / "run" / f"{task}-{name}".replace(" ", "-")
        job = TrialJob(shared(task), config, folder, lambda _: None)
        quantized = strategy.quantization_config(own)
        base = context.keeper.lend(
            strategy.base_dtype("fp32"), quantized, will_change=strategy.changes_base(own)
        )
        torch.manual_seed(1)
        setting = Setting(context.task.task_type, tokenizer=context.tokenizer)
        adapted = strategy.apply(base, own, setting)
        model = context.task.assemble(adapted, own)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight += 0.05 * torch.randn_like(weight)
        save_trained(folder, model.eval(), strategy, job._record(strategy), context.task)
        with torch.no_grad():
            found = model(**INPUTS)
        strategy.remove(adapted)
        context.keeper.give_back(base, strategy.changes_base(own))
        return folder, found if isinstance(found, torch.Tensor) else found.logits

    return save


def facts_of(folder):
    from sweeper.facts.models.model import model_facts

    return model_facts(ModelSpec(id=str(folder)))


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
    with pytest.raises(UsageError, match="text 2 is empty"):
        model.predict(["a", " "])


def test_too_little_memory_halves_the_batch(saved, monkeypatch):
    folder, _ = saved("classification", "lora")
    model, sizes = sweeper.load(folder, "cpu"), []
    classify = model._classify

    def small(features):
        sizes.append(len(features))
        if len(features) > 2:
            raise torch.OutOfMemoryError
        return classify(features)

    monkeypatch.setattr(model, "_classify", small)
    assert len(model.predict(["gold"] * 5, batch_size=8)) == 5
    assert sizes == [5, 4, 2, 2, 1]


def test_an_unfinished_output_goes_on_and_is_not_taken_for_other_rows(saved, tmp_path):
    folder, _ = saved("classification", "lora")
    data, part = tmp_path / "rows.jsonl", tmp_path / "part"
    data.write_text("".join(json.dumps({"text": f"gold {n}"}) + "\n" for n in range(5)))
    request = PredictionRequest(
        weights=str(folder), data=str(data), part=str(part), batch_size=2, max_new_tokens=1
    )
    answer(request)
    whole = part.read_text().splitlines(keepends=True)
    part.write_text("".join(whole[:3]) + whole[3][:9])
    answer(request)
    assert part.read_text().splitlines(keepends=True)[:3] == whole[:3]
    rows = [json.loads(line) for line in part.read_text().splitlines()[1:]]
    assert sorted(row["row"] for row in rows) == [1, 2, 3, 4, 5]
    data.write_text(json.dumps({"text": "other"}) + "\n")
    with pytest.raises(UsageError, match="other rows"):
        answer(request)


def test_what_cannot_be_loaded_says_why(saved, byte_llama, tmp_path, monkeypatch):
    folder, _ = saved("instruction", "lora")

    def refused(match, folder=folder):
        with pytest.raises(UsageError, match=match):
            sweeper.load(folder, "cpu")

    model = sweeper.load(folder, "cpu")
    assert model.predict([]) == []
    for wrong in ("one text", [1]):
        with pytest.raises(UsageError, match="predict takes a list of texts, got"):
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
    broken = shutil.copytree(folder, tmp_path / "template")
    (broken / "chat_template.jinja").unlink()
    refused("damaged", broken)
    broken = shutil.copytree(folder, tmp_path / "cut")
    weights = broken / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused("damaged", broken)
    record = json.loads((folder / "sweeper.json").read_text())
    changed = shutil.copytree(byte_llama, tmp_path / "base")
    (folder / "sweeper.json").write_text(json.dumps(record | {"base_folder": str(changed)}))
    sweeper.load(folder, "cpu")
    with (changed / "model.safetensors").open("ab") as file:
        file.write(b" ")
    refused("has changed")
    shutil.rmtree(changed)
    refused("not on this machine")
    refused("no trained model in this folder", tmp_path)


@pytest.mark.parametrize("task", ["classification", "by name", "instruction"])
def test_a_merged_adapter_gives_the_logits_of_the_trial_without_its_base(saved, tmp_path, task):
    folder, before = saved(task, "lora")
    request = MergeRequest(weights=str(folder), folder=str(tmp_path / "merged"))
    merge(request)
    made = Path(request.folder)
    record = MergeRequest.read(made / "merged.json")
    assert record.difference < 1e-3
    chosen = "token is that of the trial at" if task == "instruction" else "class is that of the"
    assert f"the most likely {chosen}" in record.told
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
