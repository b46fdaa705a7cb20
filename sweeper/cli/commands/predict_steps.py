"""The steps of ``sweeper predict``: which weights, which rows, and what is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sweeper.errors import RunError, UsageError
from sweeper.runfolder import RunFolder
from sweeper.steps.winner import kept_weights
from sweeper.visible import LABEL_CHARACTERS, shortened, visible


def weights_of(model: str, trial: int | None) -> Path:
    """The folder of weights that a run or a path names.

    Raises:
        UsageError: There is no such run, trial or folder, or the trial kept no weights.
    """
    for folder in (Path(model), Path(model) / "weights"):
        if (folder / "sweeper.json").is_file():
            if trial is not None:
                raise UsageError("--trial needs a run, and this is one model", where=str(folder))
            return folder
    try:
        run = RunFolder.find(model)
    except RunError as error:
        if not Path(model).is_dir():
            raise
        raise UsageError(
            "this folder holds no trained model",
            why="It has neither sweeper.json nor, as a run has, plan.json.",
            fix="Name a run, or the folder weights/ of one of its trials.",
            where=model,
        ) from error
    return kept_weights(run, trial)


def piped(folder: Path) -> Path:
    """Standard input as a file, named by its format."""
    data = sys.stdin.buffer.read()
    start = data.lstrip()[:1]
    suffix = {b"{": ".jsonl", b"[": ".json"}.get(start, ".txt")
    if data[:4] == b"PAR1":
        suffix = ".parquet"
    elif suffix == ".txt":
        suffix = _delimited(data.partition(b"\n")[0].decode("utf-8", "replace"))
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def _delimited(first: str) -> str:
    from sweeper.data.formats.base import known_names

    for sign, suffix in ((",", ".csv"), ("\t", ".tsv")):
        names = [name.strip(' "\r').lower() for name in first.split(sign)]
        if known_names().intersection(names):
            return suffix
    return ".txt"


def in_order(part: Path) -> list[str]:
    """The lines of a finished part in the order of the rows."""
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    return sorted(lines, key=lambda line: int(json.loads(line)["row"]))


def shown(line: str) -> str:
    """A prediction as text: the three most likely classes, or the written text."""
    fields = json.loads(line)
    if "label" not in fields:
        return visible(str(fields["text"]))
    likely = list(fields["probabilities"].items())[:3]
    names = (visible(shortened(name, LABEL_CHARACTERS)) for name, _ in likely)
    return "  ".join(f"{name} {share:.1%}" for name, (_, share) in zip(names, likely, strict=True))
