"""Reads the files in a model's folder: configuration, template, pooling, licence."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import ModelError, Problem
from sweeper.facts.models.catalogue import Pooling
from sweeper.textfiles import json_value, read_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LICENSE = re.compile(r"^license: *([\w.-]+)", re.MULTILINE)
_FIX = "Download the model again, or save it again with save_pretrained()."


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file of a model folder.

    Raises:
        ModelError: The file is missing, cannot be read, or has no object.
    """
    try:
        config = json_value(read_text(path))
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
        what, why = "the model folder has no config.json", "The plan is based on this file."
    fix = "Name a folder that save_pretrained() wrote, or a hub id (owner/name)."
    return ModelError(what, why=why, fix=fix, where=str(folder), code="no-model")


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer has a chat template, in its settings or in its own file."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path).get("chat_template"))


def pooling(folder: Path) -> Pooling | None:
    """The mode of the model's pooling module; None without a module or a known mode."""
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
    """The licence in the front matter of the model card; None without one."""
    try:
        card = read_text(folder / "README.md")
    except (OSError, UnicodeDecodeError):
        return None
    front = card[3:].split("\n---", 1)[0] if card.startswith("---\n") else ""
    match = _LICENSE.search(front)
    return match[1] if match else None


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights in safetensors format; other formats are not loaded."""
    return any(folder.glob("*.safetensors"))


def weights_state(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of each weight file, which change with the weights."""
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def loading_problem(folder: Path, trust_remote_code: bool) -> Problem | None:
    """The problem that prevents loading the model in a folder; None if none is found."""
    return (
        _code_problem(folder, trust_remote_code)
        or _weights_problem(folder)
        or _tokenizer_problem(folder)
    )


def _weights_problem(folder: Path) -> Problem | None:
    """The first problem of the weight files: missing, or with a header that does not fit."""
    # Imported here, as only training needs this package.
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return None  # training says what to install
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        named = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        missing = sorted(named - {path.name for path in folder.iterdir() if path.is_file()})
        if missing or not named:
            what = f"{missing[0]} is missing" if missing else "it names no weights"
            why = "The index names the files with weights."
            return Problem(what, why=why, fix=_FIX, where=str(index))
    for path in sorted(folder.glob("*.safetensors")):
        if not path.is_file():
            return Problem("the weights are not a regular file", fix=_FIX, where=str(path))
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            why = f"Its header does not fit its content: {error}"
            return Problem("the weights are damaged", why=why, fix=_FIX, where=str(path))
    return None


def _tokenizer_problem(folder: Path) -> Problem | None:
    path = folder / "tokenizer.json"
    if not path.exists():
        return None
    if not path.is_file():
        return Problem("the tokenizer is not a regular file", fix=_FIX, where=str(path))
    try:
        read_tokenizer(path)
    except ValueError as error:
        what = "the tokenizer cannot be read"
        return Problem(what, why=str(error), fix=_FIX, where=str(path))
    return None


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``.

    Raises:
        ValueError: It cannot be read, for example because a newer version wrote it.
    """
    # Imported here, as only a model with a tokenizer needs this package.
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
        unknown = getattr(tokenizer.model, "unk_token", None)
        if unknown and tokenizer.token_to_id(unknown) is None:  # encoding would fail
            raise ValueError(f"its vocabulary does not contain its unknown token {unknown!r}")
        return tokenizer
    except Exception as error:
        # The package raises plain exceptions.
        if type(error) is not Exception:
            raise
        raise ValueError(str(error)) from error


def _code_problem(folder: Path, trust_remote_code: bool) -> Problem | None:
    """A problem if the model needs code from its folder that the user does not trust."""
    config = read_json(folder / "config.json")
    spec = importlib.util.find_spec("transformers")
    if trust_remote_code or not config.get("auto_map") or spec is None or spec.origin is None:
        return None
    kind = str(config.get("model_type", "")).replace("-", "_")
    models = Path(spec.origin).parent / "models"
    # Parts of models have their own types, such as gemma3_text in gemma3.
    in_transformers = kind.isidentifier() and any(
        (models / name).is_dir() for name in (kind, kind.rpartition("_")[0]) if name
    )
    if in_transformers:
        return None
    return Problem(
        f"the model type {config.get('model_type')!r} needs code from the model's folder",
        why="transformers lacks it, and a model's own code is not run without permission.",
        fix="Read the code; if you trust it, set trust_remote_code: true for this model.",
        where=str(folder / "config.json"),
    )
