"""A trained model from its folder: adapter, head, tokenizer and task, with its base model.

Neither the data set nor the run that trained the model is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from sweeper.data.examples import SPLITS, Dataset
from sweeper.errors import ModelError, UsageError
from sweeper.spec import ModelSpec, Spec, TrainingSpec
from sweeper.strategies.loading import quiet_library
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.task import Task, task_of
from sweeper.textfiles import read_json_object
from sweeper.training.base_model.base_lender import load_base
from sweeper.training.base_model.bases import base_state, find_base, local_base
from sweeper.training.base_model.weights import weights_folder
from sweeper.training.trial.artifacts import (
    CLASSIFIER_TYPE,
    TrainedRecord,
    load_trained,
    reading,
    record_of,
    tokenizer_state,
    with_head,
)


@dataclass(frozen=True)
class Reloaded:
    """A trained model, frozen, in evaluation mode.

    Args:
        task: The task, which turns examples into batches; its splits are empty.
    """

    model: nn.Module
    task: Task
    record: TrainedRecord


def reload(folder: Path, device: torch.device | None = None, *, to_merge: bool = False) -> Reloaded:
    """Load the trained model in a folder.

    Args:
        folder: ``weights/`` of a trial, or a copy of it.
        device: Device of the model; if None, a GPU if there is one.
        to_merge: Whether to load the base in float32, unquantised, to merge an adapter into it.

    Raises:
        UsageError: The folder is damaged.
        ModelError: Its base model is missing or has changed.
    """
    record = record_of(folder)
    with reading(folder):
        for path in {*folder.iterdir(), *(folder / name for name in record.files)}:
            if not (path.is_file() or path.is_dir()):
                raise FileNotFoundError(f"{path.name} is missing, or is not a regular file")
    if tokenizer_state(folder) != record.tokenizer:
        raise UsageError(
            "the tokenizer in this folder is not the one that the model was trained with",
            why="Other tokens for the same text would give wrong answers without an error.",
            fix="Copy the whole weights/ folder of the trial again.",
            where=str(folder),
        )
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # transformers would warn of the classifier's model type, which it does not know on purpose.
    with reading(folder), quiet_library():
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=record.facts.trust_remote_code, local_files_only=True
        )
    task = _task(record, tokenizer)
    is_whole_model = strategy_named(record.strategy).saves_whole_model
    if is_whole_model:
        model = _whole_model(folder, record, task, device)
    else:
        model = _on_base(folder, record, task, device, to_merge=to_merge)
    return Reloaded(model.requires_grad_(False).eval(), task, record)


def _task(record: TrainedRecord, tokenizer: Any) -> Task:
    training = TrainingSpec(system_prompt=record.system_prompt, classes_by=record.classes_by)
    spec = Spec(task=record.task, models=(ModelSpec(id=record.base_model),), training=training)
    dataset = Dataset(
        path="",
        format=record.data_format,
        evidence=(),
        columns=record.columns,
        splits=dict.fromkeys(SPLITS, ()),
        origins={},
        labels=record.labels,
        fingerprint="",
    )
    return task_of(spec)(dataset, tokenizer, record.facts, spec, record.sequence_length)


def _whole_model(
    folder: Path, record: TrainedRecord, task: Task, device: torch.device
) -> nn.Module:
    dtype, trusted = getattr(torch, record.base_dtype), record.facts.trust_remote_code
    with reading(folder):
        # Only classifiers have a pooling.
        config = AutoConfig.for_model(**_body_config(folder)) if record.pooling else None
        kind = task.task_type
        model = load_base(folder, kind, dtype, device, trust_remote_code=trusted, config=config)
    return with_head(folder, model, record)


def _body_config(folder: Path) -> dict[str, Any]:
    """The configuration of a classifier's body, the network without its head."""
    fields = read_json_object(folder / "config.json")
    if fields.get("model_type") != CLASSIFIER_TYPE:
        raise ValueError(f"config.json is not of a {CLASSIFIER_TYPE}")
    body: dict[str, Any] = fields["base"]
    return body


def _on_base(
    folder: Path,
    record: TrainedRecord,
    task: Task,
    device: torch.device,
    *,
    to_merge: bool,
) -> nn.Module:
    base_folder = _base_folder(folder, record)
    quantized, dtype = None, torch.float32
    if not to_merge:
        dtype = getattr(torch, record.base_dtype)
        strategy = strategy_named(record.strategy)
        quantized = strategy.quantization_config(record.parameters, dtype=dtype)
    trusted = record.facts.trust_remote_code
    model = load_base(base_folder, task.task_type, dtype, device, quantized, trusted)
    with reading(folder):
        return load_trained(folder, model)


def _base_folder(weights: Path, record: TrainedRecord) -> Path:
    """The folder of the base model that an adapter or a head needs."""
    if record.base is not None:  # a feature made it from the base model
        return find_base(record.base, weights)
    name, facts = record.base_model, record.facts
    if record.base_state is not None:  # the base model is a folder, not on the hub
        name = str(local_base(name, record.base_state))
    try:
        base = weights_folder(ModelSpec(id=name, revision=record.base_revision), facts)
    except ModelError as error:
        revision = f" at revision {record.base_revision}" if record.base_revision else ""
        raise ModelError(
            f"the base model {name}{revision} is not on this machine",
            why=f"These weights were trained on it by {record.strategy} and need it: "
            + "; ".join(problem.what for problem in error.problems),
            fix="Put that folder back." if record.base_state else "Download or install that model.",
            where=str(weights),
        ) from error
    if record.base_state is not None and base_state(base) != record.base_state:
        raise ModelError(
            "the base model has changed since these weights were trained",
            why="On another base the adapter would give wrong answers without an error.",
            fix=f"Restore the original files in {base}.",
            where=str(weights),
        )
    return base
