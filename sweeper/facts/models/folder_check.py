"""Whether a model folder can be loaded, before a worker tries: weights, tokenizer, own code.

Opens headers alone. Nothing is imported from the model, and neither torch nor transformers.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sweeper.errors import Problem
from sweeper.facts.models.model_folder import read_json

_AGAIN = "Download the model again, or save it again with save_pretrained()."


def damage(folder: Path, trust_remote_code: bool) -> Problem | None:
    """The problem that prevents loading the model in a folder; None if none is known."""
    return _own_code(folder, trust_remote_code) or _weights(folder) or _tokenizer(folder)


def _weights(folder: Path) -> Problem | None:
    """Each file against its header, which states where every tensor lies."""
    # Here, since only training needs these packages.
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        return None  # training says what to install
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        named = set(shards.values()) if isinstance(shards, dict) else set()
        missing = sorted(str(name) for name in named if not (folder / str(name)).is_file())
        if missing or not named:
            what = f"{missing[0]} is missing" if missing else "it names no weights"
            return Problem(what, "The index names files with weights.", _AGAIN, str(index))
    for path in sorted(folder.glob("*.safetensors")):
        if not path.is_file():
            return Problem("the weights are not a regular file", fix=_AGAIN, where=str(path))
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            why = f"Its header does not fit its content: {error}"
            return Problem("the weights are damaged", why, _AGAIN, str(path))
    return None


def _tokenizer(folder: Path) -> Problem | None:
    path = folder / "tokenizer.json"
    if not path.exists():
        return None
    if not path.is_file():
        return Problem("the tokenizer is not a regular file", fix=_AGAIN, where=str(path))
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(path))
    except Exception as error:
        # The package raises nothing more special.
        if type(error) is not Exception:
            raise
        return Problem("the tokenizer cannot be read", str(error), _AGAIN, str(path))
    return None


def _own_code(folder: Path, trust_remote_code: bool) -> Problem | None:
    """A model type that transformers does not have and the folder brings code for."""
    config = read_json(folder / "config.json")
    found = importlib.util.find_spec("transformers")
    if trust_remote_code or not config.get("auto_map") or found is None or found.origin is None:
        return None
    kind = str(config.get("model_type", "")).replace("-", "_")
    models = Path(found.origin).parent / "models"
    # A part of a model has a type of its own, as gemma3_text in gemma3.
    known = kind.isidentifier() and any(
        (models / name).is_dir() for name in (kind, kind.rpartition("_")[0]) if name
    )
    if known:
        return None
    return Problem(
        f"the model type {config.get('model_type')!r} needs code from the model's folder",
        "transformers does not have it, and a model's own code is not run without permission.",
        "Read the code; if you trust it, set trust_remote_code: true for this model.",
        str(folder / "config.json"),
    )
