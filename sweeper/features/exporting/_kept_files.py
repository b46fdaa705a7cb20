"""The files of a weights folder that leave the run.

A run from others can hold links to files that are not part of it: what ``push`` uploads must not
contain those. Nor may a tokenizer or template, which came with the base, contain a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.data.private import PERSONAL, private_in
from sweeper.errors import UsageError
from sweeper.jsontext import object_of
from sweeper.runfolder import check_regular
from sweeper.textfile import read_text

RECORD, CARD = "sweeper.json", "README.md"


@dataclass(frozen=True)
class KeptFiles:
    """What a weights folder holds.

    Args:
        record: The content of ``sweeper.json``.
        names: Files to copy, relative to the folder: those that the record names, record and card.
        others: Files that sweeper did not write. They stay behind.
    """

    record: dict[str, Any]
    names: tuple[str, ...]
    others: tuple[str, ...]


def kept_files(weights: Path) -> KeptFiles:
    """List the files of a weights folder.

    Raises:
        UsageError: The folder or an entry in it is a link, pipe or device, or the record is damaged
            or names a file that is not there, or a text file contains what looks like a secret.
    """
    check_regular(weights.parent)
    files = {path.relative_to(weights).as_posix() for path in weights.rglob("*") if path.is_file()}
    try:
        record = object_of(read_text(weights / RECORD))
    except (OSError, ValueError) as error:
        raise _damaged(weights, f"{RECORD} cannot be read: {error}") from error
    named = record.get("files")
    if not isinstance(named, list) or not named:
        raise _damaged(weights, f"{RECORD} names no files.")
    wanted = {str(name) for name in named}
    if missing := sorted(wanted - files):
        raise _damaged(weights, f"{missing[0]} is missing.")
    names = files & {*wanted, RECORD, CARD}
    for name in sorted(name for name in names if not name.endswith(".safetensors")):
        text = (weights / name).read_text(encoding="utf-8", errors="replace")
        if secrets := [kind for kind in private_in(text) if kind not in PERSONAL]:
            raise UsageError(
                f"this file contains what looks like a secret: {', '.join(secrets)}",
                why="Whoever gets the model gets it, too.",
                fix="Remove it from the file, and revoke it if others had the file.",
                where=str(weights / name),
            )
    return KeptFiles(record, tuple(sorted(names)), tuple(sorted(files - names)))


def _damaged(weights: Path, why: str) -> UsageError:
    return UsageError(
        "this folder of trained weights is damaged",
        why=why,
        fix="Copy the whole weights/ folder of the trial again.",
        where=str(weights),
    )
