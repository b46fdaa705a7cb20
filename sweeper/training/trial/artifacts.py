"""Trained weights on disk: what was trained and nothing else, with what is needed to use it.

``weights/`` holds an adapter as PEFT writes it, or a whole model as transformers does; beside it
``head.safetensors`` where there is a head, and ``sweeper.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sweeper.artifact import Artifact
from sweeper.spec import Scalar, Task
from sweeper.strategies.base import Strategy
from sweeper.strategies.discovery import strategy as strategy_named
from sweeper.tasks.classifier import Classifier

_RECORD = "sweeper.json"
_HEAD = "head.safetensors"


class TrainedRecord(Artifact):
    """How to put trained weights on a base again.

    ``classes_by`` says how one of the ``labels`` is chosen, where there are any.
    ``first_stage`` names the folder in ``first_stages/`` with the base that an adapter belongs to
    where that had read a corpus first; ``base_model`` is what it was before.
    """

    task: Task
    strategy: str
    parameters: dict[str, Scalar]
    base_model: str
    base_revision: str | None = None
    base_dtype: Literal["float32", "bfloat16", "float16"]
    sequence_length: int
    labels: tuple[str, ...] = ()
    classes_by: Literal["head", "generate"] = "head"
    pooling: Literal["mean", "cls", "last"] | None = None
    first_stage: str | None = None


def record_of(folder: Path) -> TrainedRecord:
    """What a weights folder says about itself.

    Raises:
        UsageError: It is not one.
    """
    return TrainedRecord.read(folder / _RECORD)


def save_trained(folder: Path, model: nn.Module, strategy: Strategy, record: TrainedRecord) -> None:
    """Write a trained model. The record comes last, so that its presence means it is whole.

    Args:
        folder: ``weights/`` of the trial; made if it is not there.
        model: As the task assembled it.
        strategy: Saves the adapted base.
        record: Of this model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Classifier):
        strategy.save(model.base, folder)
        head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, str(folder / _HEAD))
    else:
        strategy.save(model, folder)
    record.write(folder / _RECORD)


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
    adapted = strategy_named(record.strategy).load(base, folder)
    if not (folder / _HEAD).is_file():
        return adapted.eval()
    assert record.pooling is not None
    head = load_file(str(folder / _HEAD), device=str(next(base.parameters()).device))
    classes, width = head["weight"].shape
    model = Classifier(adapted, record.pooling, width, classes)
    with torch.no_grad():
        model.head.load_state_dict(head)
    return model.requires_grad_(False).eval()
