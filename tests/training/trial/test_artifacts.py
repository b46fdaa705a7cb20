"""Saved weights give the same answers, and say how to be used."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import sweeper
from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import Evaluator
from sweeper.tasks.classification import Classifier
from sweeper.training.base_model.base_lender import load_base
from sweeper.training.base_model.bases import base_state, local_base
from sweeper.training.trial import artifacts
from sweeper.training.trial.artifacts import TrainedRecord, load_trained, record_of
from sweeper.training.trial.assembly import trained
from sweeper.training.trial.train import train_trial


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("strategy", ["lora", "full", "head"])
def test_loaded_weights_give_the_losses_that_the_trial_reported(
    make_job, make_shared, kind, strategy
):
    shared = make_shared(kind)
    job = make_job(shared, strategy=strategy, keep_weights=True)
    result = train_trial(job)
    folder = job.folder / result.weights
    written = json.loads((job.folder / result.item_losses).read_text())
    with trained(shared, folder) as model:
        evaluator = Evaluator(shared.context.task, shared.context.items("validation"), 16)
        assert evaluator.evaluate(model).losses.tolist() == written["losses"]
    assert train_trial(make_job(shared, strategy=strategy)).validation_loss == (
        result.validation_loss
    )


def test_without_the_data_set_a_folder_and_a_base_are_enough(make_job, model_folders):
    job = make_job(keep_weights=True)
    train_trial(job)
    folder = job.folder / "weights"
    record = record_of(folder)
    assert record.labels == ("fruit", "metal", "river")
    assert (record.strategy, record.pooling, record.base_dtype) == ("lora", "mean", "float32")
    base = load_base(
        model_folders["bert"], "FEATURE_EXTRACTION", torch.float32, torch.device("cpu")
    )
    model = load_trained(folder, base)
    assert isinstance(model, Classifier)
    assert not model.training
    ids = torch.tensor([[2, 10, 3]])
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).shape == (1, 3)


@pytest.mark.parametrize(
    ("strategy", "source", "model"),
    [("lora", "hub", "some/model"), ("full", "hub", "some/model"), ("lora", "packaged", None)],
)
def test_weights_on_a_base_that_others_have_name_no_path_of_this_machine(
    make_job, make_shared, tmp_path_factory, strategy, source, model
):
    shared = make_shared()
    named = {"source": source, "id": model or "packaged:tiny"}
    shared.context.facts = shared.context.facts.model_copy(update=named)
    if model is not None:  # else the folder, as of a packaged model
        shared.context.base_lender.name = model
    job = make_job(shared, strategy=strategy, keep_weights=True)
    train_trial(job)
    texts = {path: path.read_bytes() for path in (job.folder / "weights").rglob("*.*")}
    here = str(tmp_path_factory.getbasetemp()).encode()
    assert [path.name for path, text in texts.items() if here in text] == []
    if strategy == "lora":
        config = json.loads(texts[job.folder / "weights" / "adapter" / "adapter_config.json"])
        assert config["base_model_name_or_path"] == model


def test_weights_on_a_local_base_have_its_name_and_hash(
    make_job, make_shared, model_folders, tmp_path, tmp_path_factory, monkeypatch
):
    shared = make_shared()
    local = {"source": "local", "id": str(model_folders["bert"])}
    shared.context.facts = shared.context.facts.model_copy(update=local)
    job = make_job(shared, strategy="lora", keep_weights=True)
    train_trial(job)
    weights = job.folder / "weights"
    here = str(tmp_path_factory.getbasetemp()).encode()
    assert [path.name for path in weights.rglob("*.*") if here in path.read_bytes()] == []
    record = record_of(weights)
    assert record.base_model == model_folders["bert"].name
    assert record.base_state == base_state(model_folders["bert"])
    assert local_base(record.base_model, record.base_state) == model_folders["bert"]
    # On another machine, or after the base was moved.
    monkeypatch.chdir(shutil.copytree(model_folders["bert"], tmp_path / record.base_model).parent)
    for other in (tmp_path / "none", tmp_path / "moved"):
        monkeypatch.setenv("SWEEPER_HOME", str(other))
        assert local_base(record.base_model, record.base_state) == Path(record.base_model)
        (tmp_path / "moved" / "local-bases").mkdir(parents=True, exist_ok=True)
        (tmp_path / "moved" / "local-bases" / record.base_state).write_text("/not/there")
    assert isinstance(sweeper.load(weights, "cpu").model, Classifier)


def test_the_card_beside_weights_tells_neither_host_nor_home(monkeypatch, make_shared):
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-7")
    record = TrainedRecord(
        task="classification", strategy="lora", parameters={}, base_dtype="float32",
        base_model="/nfs/gpu-7/m", sequence_length=8, labels=("/home/ann/x", "b"),
        facts=make_shared().context.facts,
    )  # fmt: skip
    card = artifacts._card(record)
    assert "- Base model: /nfs/HOST/m" in card
    assert "- Classes: ~/x, b" in card


def test_no_weights_of_the_base_are_saved(make_job):
    job = make_job(keep_weights=True)
    train_trial(job)
    folder = job.folder / "weights"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert files == {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "config.json",
        "head.safetensors",
        "sweeper.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"sweeper\.json"):
        record_of(tmp_path)
