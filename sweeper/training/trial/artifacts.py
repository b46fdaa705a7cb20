"""Trained weights on disk, with everything that is needed to use them.

``weights/`` holds an adapter in PEFT's format or a whole model in transformers' format, the
tokenizer, generation settings, a model card, ``sweeper.json``, and ``head.safetensors`` if there is
a head. An adapter with which PEFT's and transformers' classes would give wrong answers is in
``weights/adapter/``, so that they find none in ``weights/`` and refuse the folder.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GenerationConfig

from sweeper.artifact import Artifact
from sweeper.errors import UsageError
from sweeper.facts.record import ModelFacts
from sweeper.plans import Precision
from sweeper.safe_text import clean
from sweeper.spec import Scalar
from sweeper.spec import Task as TaskName
from sweeper.strategies.strategy import Strategy
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classifier
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Task
from sweeper.textfiles import read_json_object, write_text
from sweeper.trials import BaseRef

# Name of ``TrainedRecord`` in ``weights/``.
RECORD = "sweeper.json"

# A model type that transformers does not know, so that its classes refuse the folder. With a known
# type, AutoModelForSequenceClassification would put a random head of two classes on the body.
CLASSIFIER_TYPE = "sweeper_classifier"
# Names in ``weights/``; ``_ADAPTER`` is a folder.
_HEAD, _ADAPTER, CARD = "head.safetensors", "adapter", "README.md"
_CONFIG, _ADAPTER_CONFIG = "config.json", "adapter_config.json"


class TrainedRecord(Artifact):
    """What is needed to load trained weights again.

    ``classes_by`` says how one of the ``labels`` is chosen, if there are any.
    ``base`` is an adapter's base, if a feature made it from ``base_model``.
    ``facts`` describe the base model. If a local folder is needed as base, ``base_state`` is a
    hash of its files, and ``base_model`` only its name.
    ``tokenizer`` is the SHA-256 of the tokenizer in the folder, and ``files`` lists all files of
    the folder except the card and this record. ``data_format`` and ``columns`` describe the data;
    ``versions`` has versions of libraries.
    """

    task: TaskName
    strategy: str
    parameters: dict[str, Scalar]
    base_model: str
    base_revision: str | None = None
    base_dtype: Literal["float32", "bfloat16", "float16"]
    sequence_length: int
    labels: tuple[str, ...] = ()
    classes_by: Literal["head", "generate"] = "head"
    pooling: Literal["mean", "cls", "last"] | None = None
    base: BaseRef | None = None
    facts: ModelFacts
    base_state: str | None = None
    precision: Precision = "fp32"
    system_prompt: str | None = None
    data_format: str = "text-label"
    columns: dict[str, str] = Field(default_factory=dict)
    tokenizer: str | None = None
    files: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)


def record_of(folder: Path) -> TrainedRecord:
    """The record of a weights folder.

    Raises:
        UsageError: The folder has no readable record.
    """
    return TrainedRecord.read(folder / RECORD)


def save_trained(
    folder: Path,
    model: nn.Module,
    strategy: Strategy,
    record: TrainedRecord,
    task: Task,
) -> None:
    """Write a trained model. The record is written last: if it exists, the folder is complete.

    Args:
        folder: ``weights/`` of the trial; created if missing.
        task: The task, with the tokenizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    adapter = _adapter_to_write(folder, model, strategy, record)
    if isinstance(model, Classifier):
        strategy.save(model.base, adapter)
        head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, str(folder / _HEAD))
    else:
        strategy.save(model, adapter)
    # PEFT's card names paths of this machine; the folder gets a card of its own.
    (adapter / CARD).unlink(missing_ok=True)
    tokenizer = _write_companions(folder, adapter, model, task, record)
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = tuple(sorted(path.as_posix() for path in files if path.name != CARD))
    record.model_copy(update={"tokenizer": tokenizer, "files": names}).write(folder / RECORD)


def _adapter_to_write(
    folder: Path, model: nn.Module, strategy: Strategy, record: TrainedRecord
) -> Path:
    """The folder for the strategy's weights: ``folder``, or ``adapter/`` in it."""
    made_base, has_head = record.base is not None, isinstance(model, Classifier)
    usable_by_peft = strategy.for_usual_classes and not made_base and not has_head
    return folder if usable_by_peft or strategy.saves_whole_model else folder / _ADAPTER


def load_trained(folder: Path, base: nn.Module) -> nn.Module:
    """The trained model in evaluation mode, frozen.

    Args:
        base: The base model in the record's dtype; it may be changed in place.

    Returns:
        A ``Classifier`` if there is a head, else the adapted base.

    Raises:
        UsageError: The folder has no trained weights.
    """
    record = record_of(folder)
    adapter = folder / _ADAPTER
    adapted = strategy_named(record.strategy).load(base, adapter if adapter.is_dir() else folder)
    return with_head(folder, adapted, record)


def with_head(folder: Path, adapted: nn.Module, record: TrainedRecord) -> nn.Module:
    """An adapted base with the head saved in a folder, if the record names a pooling.

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


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """A context in which errors of damaged or missing files become an error that names the folder.

    Raises:
        UsageError: A file in the folder cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines()
        raise UsageError(
            "this folder of trained weights is damaged",
            why=lines[0][:300] if lines else type(error).__name__,
            fix="Copy the whole weights/ folder of the trial again.",
            where=str(folder),
        ) from error


def _write_companions(
    folder: Path, adapter: Path, model: nn.Module, task: Task, record: TrainedRecord
) -> str:
    """Write all files except the weights and ``sweeper.json``.

    Args:
        folder: ``weights/`` of the trial, with the weights.
        adapter: Folder of the adapter, if there is one.

    Returns:
        The SHA-256 of the tokenizer.
    """
    tokenizer = copy.deepcopy(task.tokenizer)
    if isinstance(task, Instruction | GenerateLabel):
        tokenizer.chat_template = task.chat.template
        _write_generation(folder, model, task)
    tokenizer.save_pretrained(folder)
    if isinstance(model, Classifier):
        _write_classifier(folder, model, record)
    elif (folder / _CONFIG).is_file():
        config = read_json_object(folder / _CONFIG)
        config.pop("use_cache", None)  # it is off for training only
        _write_json(folder / _CONFIG, config)
    if (adapter / _ADAPTER_CONFIG).is_file():
        config = read_json_object(adapter / _ADAPTER_CONFIG) | {"revision": record.base_revision}
        if adapter != folder and Path(str(config["base_model_name_or_path"])).is_absolute():
            config["base_model_name_or_path"] = None  # a path of this machine, not needed
        _write_json(adapter / _ADAPTER_CONFIG, config)
    write_text(folder / CARD, _card(record))
    return tokenizer_state(folder)


def tokenizer_state(folder: Path) -> str:
    """The SHA-256 of the vocabulary and rules of the tokenizer in a folder.

    Raises:
        UsageError: The folder has no tokenizer.
    """
    with reading(folder):
        names = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
        files = [folder / name for name in names if (folder / name).is_file()]
        if not files:
            raise FileNotFoundError("tokenizer.json is missing")
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _write_generation(folder: Path, model: nn.Module, task: Instruction | GenerateLabel) -> None:
    base = getattr(model, "get_base_model", lambda: model)()
    settings = copy.deepcopy(getattr(base, "generation_config", None)) or GenerationConfig()
    settings.eos_token_id = list(task.chat.stop_tokens)
    settings.pad_token_id = task.padding
    settings.use_cache = True
    write_text(folder / "generation_config.json", settings.to_json_string())


def _write_classifier(folder: Path, model: Classifier, record: TrainedRecord) -> None:
    labels = record.labels
    body = getattr(model.base, "get_base_model", lambda: model.base)()
    fields = body.config.to_dict()
    fields.pop("_name_or_path", None)  # a path of this machine
    config = {
        "model_type": CLASSIFIER_TYPE,
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "pooling": record.pooling,
        "base": fields,
    }
    _write_json(folder / _CONFIG, config)


def _card(record: TrainedRecord) -> str:
    licence = record.facts.license
    front = ["---", f"license: {licence}"] if licence else ["---"]
    front += ["library_name: sweeper", "---", ""]
    revision = f", revision {record.base_revision}" if record.base_revision else ""
    lines = [
        "# A model trained by sweeper",
        "",
        f"- Task: {record.task}",
        f"- Strategy: {record.strategy}",
        f"- Base model: {record.base_model}{revision}",
        f"- License of the base model: {licence or '[More Information Needed]'}",
        *([f"- Classes: {', '.join(record.labels)}"] if record.labels else []),
        "",
        "```python",
        "import sweeper",
        "",
        'model = sweeper.load("PATH/TO/THIS/FOLDER")',
        'print(model.predict(["some text"]))',
        "```",
        "",
    ]
    return clean("\n".join([*front, *lines]))


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    write_text(path, json.dumps(fields, indent=2, ensure_ascii=False, default=str) + "\n")
