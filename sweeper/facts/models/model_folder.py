"""Reads the files beside a model's weights: configuration, template, pooling, licence."""

from __future__ import annotations

import re
from pathlib import Path

from sweeper.errors import ModelError
from sweeper.facts.models.catalogue import Pooling
from sweeper.jsontext import value_of
from sweeper.textfile import read_text

_LICENSE = re.compile(r"^license: *([\w.-]+)", re.MULTILINE)


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file of a model folder.

    Raises:
        ModelError: The file is missing, cannot be read, or holds something else.
    """
    try:
        config = value_of(read_text(path))
    except FileNotFoundError as error:
        raise _no_config(path.parent) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read it ({error})", where=str(path)) from error
    if not isinstance(config, dict):
        raise ModelError("it does not hold an object", where=str(path))
    return config


def _no_config(folder: Path) -> ModelError:
    if not folder.is_dir():
        what, why = "no such model folder", ""
    elif (folder / "adapter_config.json").is_file():
        what, why = "the folder holds an adapter, not a model", "Adapters need their base model."
    else:
        what, why = "the model folder has no config.json", "Everything planned follows from it."
    fix = "Name a folder that save_pretrained() wrote, or a hub id (owner/name)."
    return ModelError(what, why=why, fix=fix, where=str(folder))


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer has a chat template, in its settings or in a file of its own."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path).get("chat_template"))


def pooling(folder: Path) -> Pooling | None:
    """The pooling of the model's own pooling module, if it has one."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return None
    modes = read_json(path)
    names: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_lasttoken": "last",
    }
    return next((pooling for key, pooling in names.items() if modes.get(key)), None)


def license_name(folder: Path) -> str | None:
    """The licence that the model card names in its front matter."""
    try:
        card = read_text(folder / "README.md")
    except (OSError, UnicodeDecodeError):
        return None
    front = card[3:].split("\n---", 1)[0] if card.startswith("---\n") else ""
    match = _LICENSE.search(front)
    return match[1] if match else None


def has_weights(folder: Path) -> bool:
    """Whether there are weights in safetensors format, the only ones that are loaded."""
    return any(folder.glob("*.safetensors"))
