"""Which files make up which split: one file, three paths, a folder, or a data set of the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sweeper.data.examples import SPLIT_NAMES, SPLITS, Split
from sweeper.data.problems import listing
from sweeper.data.reading.hub import hub_files, is_hub_data
from sweeper.data.reading.layout import SplitFiles, check_one_place, layout
from sweeper.data.reading.read import keys_of
from sweeper.errors import DataError, near_match
from sweeper.spec import DataSpec
from sweeper.textfiles import read_text

_MAX_DEPTH = 3
"""Levels of subfolders that are searched: ``data/CONFIG/SPLIT/`` is the deepest usual one."""

MAX_FILES = 10_000
"""A folder with more files is no data set, but for example a home folder."""


def split_files(spec: DataSpec) -> SplitFiles:
    """The files of every split that the source has; ``train`` is always among them.

    Raises:
        DataError: No data was named, a path is missing, the hub does not give the data set, or
            there is no file for training.
    """
    if spec.path is None:
        raise DataError(
            "no data was named", fix="Give a file or a folder: data.path or --data PATH."
        )
    source = _source_files(spec)
    files = dict(source.files)
    user_files: dict[Split, str | None] = {"validation": spec.validation, "test": spec.test}
    for split, path in user_files.items():
        if path is not None:
            _check_exists(Path(path))
            files[split] = (Path(path),)
    return SplitFiles({split: files[split] for split in SPLITS if split in files}, source.evidence)


def _source_files(spec: DataSpec) -> SplitFiles:
    path = Path(str(spec.path))
    if is_hub_data(spec):
        return hub_files(spec)
    _check_exists(path)
    if spec.revision is not None:
        raise DataError(
            "a revision names a commit of the hub, but this is on this machine",
            fix="Leave it out.",
            where=str(path),
        )
    if not path.is_dir():
        if spec.name or spec.split:
            raise DataError(
                "a single file has neither configurations nor splits",
                fix="Leave out data.name and data.split (--data-name, --data-split), or name a "
                "folder.",
                where=str(path),
            )
        return _splits_in_file(path)
    card = path / "README.md"
    text = read_text(card) if card.is_file() else ""
    return layout(path, _file_names(path), str(path), text, spec.name, spec.split or "")


def _splits_in_file(path: Path) -> SplitFiles:
    """The file alone, or the splits that a JSON file holds, each as ``FILE/KEY.json``."""
    keys = keys_of(path)
    split_by_key = {key: SPLIT_NAMES[key.lower()] for key in keys if key.lower() in SPLIT_NAMES}
    if "train" not in split_by_key.values():
        return SplitFiles({"train": (path,)})
    splits = {
        split: tuple(
            path / f"{key}.json" for key, key_split in split_by_key.items() if key_split == split
        )
        for split in SPLITS
    }
    for split, parts in splits.items():
        check_one_place([f"`{part.stem}`" for part in parts], split, str(path))
    evidence = [f"an object with the splits {listing([f'`{key}`' for key in split_by_key])}"]
    if unread_keys := [f"`{key}`" for key in keys if key not in split_by_key]:
        evidence.append(f"not read: {listing(unread_keys)}")
    return SplitFiles({split: parts for split, parts in splits.items() if parts}, tuple(evidence))


def _file_names(folder: Path) -> Iterator[str]:
    """The files in a folder and its subfolders, as paths relative to it."""
    count = 0
    for parent, folders, files in os.walk(folder):
        parent_path = Path(parent).relative_to(folder)
        folders[:] = [
            f for f in folders if not f.startswith(".") and len(parent_path.parts) < _MAX_DEPTH
        ]
        for name in files:
            count += 1
            if count > MAX_FILES:
                raise DataError(
                    f"the folder has more than {MAX_FILES:,} files",
                    fix="Name a file, or a folder with the data alone.",
                    where=str(folder),
                )
            yield (parent_path / name).as_posix()


def _check_exists(path: Path) -> None:
    try:
        if path.exists():
            return
        siblings = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        siblings = []
    hint = near_match(path.name, siblings) if siblings else ""
    fix = hint if hint.startswith("Did") else "Check the path, relative to the current folder."
    if path.name in siblings:
        fix = "This link leads to nothing: give the file itself, or renew the link."
    raise DataError("no such file or folder", fix=fix, where=str(path))
