"""Checkpoints of one attempt at a trial: their files, completeness and size.

Imports no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import zlib
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.errors import UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.memory.states import optimizer_cost
from sweeper.trials import PreparedBase, RungReport, TrialConfig

# A trial that is predicted to take longer than this saves checkpoints, and continues from the last
# one after an interruption. A shorter trial starts again.
LONG_TRIAL_SECONDS = 30 * 60
# File in a checkpoint that lists its other files.
MANIFEST = "checkpoint.json"
# Folder in which a checkpoint is written until it is complete.
UNFINISHED = ".unfinished-checkpoint"

_NAME = re.compile(r"checkpoint-(?P<rung>\d+)")
_CHUNK_BYTES = 1 << 20


class CheckpointFile(Record):
    """Size and checksum of one file."""

    bytes: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> CheckpointFile:
        """Size and checksum of a file, whose content is flushed to disk first."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return cls(bytes=path.stat().st_size, crc32=_crc32(path))

    def has_size(self, path: Path) -> bool:
        return path.is_file() and path.stat().st_size == self.bytes


class Checkpoint(Artifact):
    """``checkpoint.json``: the manifest of a checkpoint. It is written after all other files.

    ``reports`` holds the reports of all rungs so far. The owner may lack the last one, since a
    checkpoint is written before its rung is reported.
    """

    rung: int
    optimizer_steps: int
    config: TrialConfig
    setup: TrainingSetup = Field(description="the config's, with smaller batches if memory ran out")
    data_fingerprint: str
    reports: tuple[RungReport, ...]
    prepared: PreparedBase | None = Field(None, description="the base that a feature made for it")
    files: dict[str, CheckpointFile] = Field(default_factory=dict)

    def is_complete(self, folder: Path) -> bool:
        """Whether every file in ``folder`` has its recorded size."""
        return all(file.has_size(folder / name) for name, file in self.files.items())

    def damaged_file(self, folder: Path) -> str:
        """The first file in ``folder`` whose size or content is not as recorded; empty if none."""
        for name, file in self.files.items():
            if not file.has_size(folder / name) or _crc32(folder / name) != file.crc32:
                return name
        return ""


def checkpoint_folder(attempt: Path, rung: int) -> Path:
    """The folder of a rung's checkpoint in an attempt's folder."""
    return attempt / f"checkpoint-{rung}"


def newest_checkpoint(attempt: Path) -> tuple[Path, int] | None:
    """The last complete checkpoint of an attempt and its rung; None if there is none.

    Complete means that every file has its recorded size. Training also compares the checksums, and
    starts from clean weights if one differs.
    """
    for rung, folder in sorted(_checkpoints(attempt), reverse=True):
        try:
            manifest = Checkpoint.read(folder / MANIFEST)
        except UsageError:
            continue
        if manifest.is_complete(folder):
            return folder, rung
    return None


def drop_checkpoints(attempt: Path, keep: int | None = None) -> None:
    """Delete the checkpoints of an attempt, unfinished ones included.

    Args:
        keep: Rung of the checkpoint to keep; None to delete all.
    """
    for rung, folder in _checkpoints(attempt):
        if rung != keep:
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(attempt / UNFINISHED, ignore_errors=True)


def checkpoint_bytes(
    trainable_parameters: int, weight_bytes: int = 4, optimizer: str = "adamw_torch"
) -> int:
    """The largest size of one checkpoint: weights, the best rung's weights, optimizer states.

    A trial briefly needs twice this much: the old checkpoint is deleted once the new one is
    complete.

    Args:
        weight_bytes: Bytes of one weight; 2 in bf16-pure, else 4.
        optimizer: Name of the optimizer in ``TrainingArguments.optim``.

    >>> checkpoint_bytes(1_000_000)
    16000000
    """
    # A paged optimizer saves the same states as the optimizer without pages.
    states = optimizer_cost(optimizer.replace("paged_", ""), weight_bytes).states
    return round(trainable_parameters * (2 * weight_bytes + states))


def seal(folder: Path, manifest: Checkpoint, to: Path) -> None:
    """Complete a checkpoint: flush its files, write the manifest, rename the folder.

    Args:
        folder: The unfinished checkpoint, with its files and nothing else.
        manifest: Manifest without files; those in ``folder`` are added.
        to: Final folder; replaced if it exists.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    files = {path.name: CheckpointFile.of(path) for path in sorted(folder.iterdir())}
    manifest.model_copy(update={"files": files}).write(folder / MANIFEST)
    shutil.rmtree(to, ignore_errors=True)
    folder.rename(to)
    handle = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _checkpoints(attempt: Path) -> list[tuple[int, Path]]:
    if not attempt.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in attempt.iterdir())
    return [(int(name["rung"]), path) for name, path in named if name is not None]
