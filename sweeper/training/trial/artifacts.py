"""Trained weights on disk, with everything that is needed to use them.

``weights/`` holds an adapter as PEFT writes it, or a whole model as transformers does; beside it
``head.safetensors`` where there is a head, tokenizer, generation settings, a card, and
``sweeper.json``. The adapter lies in ``weights/adapter/`` where classes of PEFT and transformers
would not give the trial's answers: they find no adapter in ``weights/`` then, and refuse it.
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
from sweeper.training.trial.companions import CARD, reading, write_companions
from sweeper.training.trial.trained_record import RECORD, TrainedRecord, record_of

_HEAD = "head.safetensors"
_ADAPTER = "adapter"


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
        model: The model that the task assembled.
        task: Brings the tokenizer; without one, no files are written beside the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    adapter = _adapter_to_write(folder, model, strategy, record)
    if isinstance(model, Classifier):
        strategy.save(model.base, adapter)
        head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, str(folder / _HEAD))
    else:
        strategy.save(model, adapter)
    # PEFT's card names paths of this machine; there is one for the whole folder.
    (adapter / CARD).unlink(missing_ok=True)
    if task is not None:
        tokenizer = write_companions(folder, adapter, model, task, record)
        files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        names = tuple(sorted(path.as_posix() for path in files if path.name != CARD))
        record = record.model_copy(update={"tokenizer": tokenizer, "files": names})
    record.write(folder / RECORD)


def _adapter_to_write(
    folder: Path, model: nn.Module, strategy: Strategy, record: TrainedRecord
) -> Path:
    """Where the adapter of a model goes, if it has one."""
    usual = strategy.for_usual_classes and record.first_stage is None
    usual = usual and not isinstance(model, Classifier)
    return folder if usual or strategy.saves_whole_model else folder / _ADAPTER


def load_trained(folder: Path, base: nn.Module) -> nn.Module:
    """The trained model in evaluation mode, frozen.

    Args:
        base: The base model in the record's dtype; it may be changed in place.

    Returns:
        A ``Classifier`` where there is a head, else the adapted base.

    Raises:
        UsageError: The folder is not one of trained weights.
    """
    record = record_of(folder)
    own = folder / _ADAPTER
    adapted = strategy_named(record.strategy).load(base, own if own.is_dir() else folder)
    return with_head(folder, adapted, record)


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
