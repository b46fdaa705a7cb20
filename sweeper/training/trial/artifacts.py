"""Trained weights on disk: what was trained, and what is needed to use it.

``weights/`` holds an adapter as PEFT writes it, or a whole model as transformers does; beside it
``head.safetensors`` where there is a head, tokenizer, generation settings, a card, and
``sweeper.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn

from sweeper.artifact import Artifact
from sweeper.data.examples import DataFormat
from sweeper.facts.record import ModelFacts
from sweeper.plan import Precision
from sweeper.spec import Scalar, Task
from sweeper.strategies.base import Strategy
from sweeper.strategies.discovery import strategy as strategy_named
from sweeper.tasks.base import Task as TrialTask
from sweeper.tasks.classifier import Classifier
from sweeper.training.trial.companions import reading, write_companions

_RECORD = "sweeper.json"
_HEAD = "head.safetensors"


class TrainedRecord(Artifact):
    """How to put trained weights on a base again.

    ``classes_by`` says how one of the ``labels`` is chosen, where there are any.
    ``first_stage`` names the folder in ``first_stages/`` with the base that an adapter belongs to
    where that had read a corpus first; ``base_model`` is what it was before. ``facts`` are those
    of the base model. ``base_folder`` is where it lay, and ``base_state`` what its files were.
    ``tokenizer`` is the SHA-256 of the tokenizer beside the weights. ``data_format`` and
    ``columns`` are those of the data; ``versions`` are of the libraries that trained.
    """

    VERSION: ClassVar[int] = 2

    schema_version: int = 2
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
    facts: ModelFacts | None = None
    base_folder: str | None = None
    base_state: str | None = None
    precision: Precision = "fp32"
    system_prompt: str | None = None
    data_format: DataFormat = "text-label"
    columns: dict[str, str] = Field(default_factory=dict)
    tokenizer: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)


def record_of(folder: Path) -> TrainedRecord:
    """What a weights folder says about itself.

    Raises:
        UsageError: It is not one.
    """
    return TrainedRecord.read(folder / _RECORD)


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
