"""The hub models that are on this machine already, found without loading the hub's client."""

from __future__ import annotations

from pathlib import Path

# The client itself takes a third of the time that a plan may take; its constants take none.
from huggingface_hub import constants


def cached_snapshot(model_id: str, revision: str | None) -> Path | None:
    """The folder of a downloaded revision that has a ``config.json``, or None.

    Its name is the commit that the revision stood for.
    """
    repository = Path(constants.HF_HUB_CACHE, f"models--{model_id.replace('/', '--')}")
    name = revision or "main"
    try:
        commit = (repository / "refs" / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        commit = name
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() else None
