"""What the model hub's cache on this machine holds. Reads folders; never the network.

Follows the variables and the layout of huggingface_hub, without importing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TRUE = {"1", "ON", "YES", "TRUE"}


def is_hub_id(model_id: str) -> bool:
    """Whether this can be the id of a model on the hub: ``name`` or ``owner/name``."""
    return bool(_HUB_ID.fullmatch(model_id)) and ".." not in model_id


def is_offline() -> bool:
    """Whether the user has switched the hub off."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in _TRUE for name in names)


def endpoint() -> str:
    """The hub's address, without a slash at its end."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_home() -> Path:
    """The folder that holds the login and, by default, the cache."""
    if named := os.environ.get("HF_HOME"):
        return Path(named).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "huggingface"


def cache_folder() -> Path:
    """The folder that downloaded models lie in."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else hub_home() / "hub"


def token() -> str | None:
    """The access token from the environment or the login; it is used, never stored."""
    if named := os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return named.strip() or None
    path = Path(os.environ.get("HF_TOKEN_PATH", hub_home() / "token")).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def cached_snapshot(model_id: str, revision: str | None) -> Path | None:
    """The folder of a downloaded revision that has a ``config.json``, or None.

    Its name is the commit that the revision stood for.
    """
    repository = cache_folder() / f"models--{model_id.replace('/', '--')}"
    name = revision or "main"
    try:
        commit = (repository / "refs" / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        commit = name
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None
