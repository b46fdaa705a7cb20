"""The files beside trained weights: tokenizer, template, generation settings, card."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import GenerationConfig

from sweeper.artifact import write_text
from sweeper.errors import UsageError
from sweeper.jsontext import object_of
from sweeper.redaction import clean
from sweeper.tasks.base import Task
from sweeper.tasks.classifier import Classifier
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.instruction import Instruction
from sweeper.training.trial.trained_record import TrainedRecord

# No architecture of transformers: its classes refuse the folder. A known name would let
# AutoModelForSequenceClassification put a random head of two classes on the body.
CLASSIFIER_TYPE = "sweeper_classifier"
_CONFIG, _ADAPTER, CARD = "config.json", "adapter_config.json", "README.md"
# Bytes read at each end of a file to tell one version of a model from another.
_SAMPLE = 1 << 20


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn errors of damaged or missing files into one that names the folder.

    Raises:
        UsageError: A file in it cannot be read.
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


def write_companions(
    folder: Path, adapter: Path, model: nn.Module, task: Task, record: TrainedRecord
) -> str:
    """Write everything but the weights and ``sweeper.json``.

    Args:
        folder: ``weights/`` of the trial; the weights lie in it.
        adapter: Where the adapter lies, if there is one.
        model: The model that the task assembled.

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
        config = _json(folder / _CONFIG)
        config.pop("use_cache", None)  # off while training only
        _write(folder / _CONFIG, config)
    if (adapter / _ADAPTER).is_file():
        config = _json(adapter / _ADAPTER) | {"revision": record.base_revision}
        if adapter != folder and record.facts and record.facts.source == "packaged":
            config["base_model_name_or_path"] = None  # a path of this machine that nobody reads
        _write(adapter / _ADAPTER, config)
    write_text(folder / CARD, _card(record))
    return tokenizer_state(folder)


def tokenizer_state(folder: Path) -> str:
    """The SHA-256 of the vocabulary and rules of the tokenizer in a folder.

    Raises:
        UsageError: There is none.
    """
    with reading(folder):
        names = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
        files = [folder / name for name in names if (folder / name).is_file()]
        if not files:
            raise FileNotFoundError("tokenizer.json is missing")
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def base_state(folder: Path) -> str:
    """A digest of sizes and of both ends of the safetensors files of a base model.

    Files of many GB are told apart in milliseconds: training changes all layers, so that it also
    changes the ends.
    """
    sha = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        sha.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            sha.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            sha.update(file.read(_SAMPLE))
    return sha.hexdigest()


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
    _write(folder / _CONFIG, config)


def _card(record: TrainedRecord) -> str:
    licence = record.facts.license if record.facts else None
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


def _json(path: Path) -> dict[str, Any]:
    return object_of(path.read_text(encoding="utf-8"))


def _write(path: Path, fields: dict[str, Any]) -> None:
    write_text(path, json.dumps(fields, indent=2, ensure_ascii=False, default=str) + "\n")
