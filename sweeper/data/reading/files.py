"""Which files make up which split: one file, three paths, or a folder with official splits.

Knows names, not contents.
"""

from __future__ import annotations

import re
from pathlib import Path

from sweeper.data.examples import SPLITS, Split
from sweeper.data.problems import listing
from sweeper.data.reading.read import SUFFIXES, data_suffix
from sweeper.errors import DataError, near_match
from sweeper.spec import DataSpec

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_SHARD = re.compile(r"[-_.]?\d+([-_.]of[-_.]\d+)?$")
"""``train-00000-of-00002``: the hub's name for one piece of a split."""


def split_files(spec: DataSpec) -> dict[Split, tuple[Path, ...]]:
    """The files of every split that the source has; ``train`` is always among them.

    Raises:
        DataError: No data was named, a path is missing, or a folder has no file for training.
    """
    if spec.path is None:
        raise DataError(
            "no data was named", fix="Give a file or a folder: data.path or --data PATH."
        )
    path = Path(spec.path)
    _require(path)
    files: dict[Split, tuple[Path, ...]] = _of_folder(path) if path.is_dir() else {"train": (path,)}
    official: dict[Split, str | None] = {"validation": spec.validation, "test": spec.test}
    for split, named in official.items():
        if named is not None:
            _require(Path(named))
            files[split] = (Path(named),)
    return {split: files[split] for split in SPLITS if split in files}


def _require(path: Path) -> None:
    try:
        if path.exists():
            return
        siblings = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        siblings = []
    hint = near_match(path.name, siblings) if siblings else ""
    raise DataError(
        "no such file or folder",
        fix=hint if hint.startswith("Did") else "Check the path; it is read from where you are.",
        where=str(path),
    )


def split_of(path: Path) -> Split | None:
    """The split that a file's name stands for.

    >>> split_of(Path("train-00000-of-00002.parquet")), split_of(Path("fewshot_dev.jsonl"))
    ('train', None)
    """
    stem = path.name.lower().removesuffix(".gz").rsplit(".", 1)[0]
    return _SPLIT_NAMES.get(_SHARD.sub("", stem))


def _is_data(path: Path) -> bool:
    """Whether a folder's file holds rows: a .txt beside them is a licence unless a split's name."""
    suffix = data_suffix(path)
    return suffix is not None and (suffix != ".txt" or split_of(path) is not None)


def _of_folder(folder: Path) -> dict[Split, tuple[Path, ...]]:
    found = sorted(path for path in folder.iterdir() if path.is_file() and _is_data(path))
    if not found:
        raise DataError(
            f"the folder has no data file ({listing(SUFFIXES)})",
            fix="Name a file, or put train.jsonl (and validation.jsonl, test.jsonl) there.",
            where=str(folder),
        )
    splits: dict[Split, tuple[Path, ...]] = {}
    for path in found:
        if split := split_of(path):
            splits[split] = (*splits.get(split, ()), path)
    if "train" in splits:
        return splits
    if len(found) == 1 and not splits:
        return {"train": (found[0],)}
    names = [path.name for path in found]
    raise DataError(
        f"the folder has no file for training, only {listing(names)}",
        why="A split is recognised by its file name: train, validation (val, dev) or test.",
        fix="Rename the file for training to train.*, or name one file instead of the folder.",
        where=str(folder),
    )
