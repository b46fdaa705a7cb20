"""Trained weights on disk: what was trained, and what is needed to use it.

``weights/`` holds an adapter as PEFT writes it, or a whole model as transformers does; beside it
``head.safetensors`` where there is a head, tokenizer, generation settings, a card, and
``sweeper.json``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sweeper.strategies.base import Strategy
from sweeper.strategies.discovery import strategy as strategy_named
from sweeper.tasks.base import Task as TrialTask
from sweeper.tasks.classifier import Classifier
from sweeper.training.trial.companions import reading, write_companions
from sweeper.training.trial.trained_record import RECORD, TrainedRecord, record_of

_HEAD = "head.safetensors"


def save_trained(
    folder: Path,
    model: nn.Module,
    strategy: Strategy,
    record: TrainedRecord,
    task: TrialTask | None = None,
) -> None:
    """Write a trained model. The record comes last, so that its presence means it is whole.

    Args:
        folder: ``weights/`` of the trial; made if it is not there.
        model: As the task assembled it.
        strategy: Saves the adapted base.
        record: Of this model.
        task: Brings the tokenizer; without one, no files are written beside the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        strategy.save(model.base, folder)
        head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, str(folder / _HEAD))
    else:
        strategy.save(model, folder)
    if task is not None:
        tokenizer = write_companions(folder, model, task, record)
        record = record.model_copy(update={"tokenizer": tokenizer})
    record.write(folder / RECORD)


def load_trained(folder: Path, base: nn.Module) -> nn.Module:
    """The trained model in evaluation mode, frozen.

    Args:
        folder: Written by ``save_trained``.
        base: The base model in the record's dtype; it may be changed in place.

    Returns:
        A ``Classifier`` where there is a head, else the adapted base.

    Raises:
        UsageError: The folder is not one of trained weights.
    """
    record = record_of(folder)
    return with_head(folder, strategy_named(record.strategy).load(base, folder), record)


def with_head(folder: Path, adapted: nn.Module, record: TrainedRecord) -> nn.Module:
    """An adapted base with the head that lies in a folder, where the record names a pooling.

    Raises:
        UsageError: The head is missing or damaged.
    """
    if record.pooling is None:
        return adapted.eval()
    device = str(next(adapted.parameters()).device)
    with reading(folder):
        head = load_file(str(folder / _HEAD), device=device)
    classes, width = head["weight"].shape
    model = Classifier(adapted, record.pooling, width, classes)
    with torch.no_grad():
        model.head.load_state_dict(head)
    return model.requires_grad_(False).eval()
