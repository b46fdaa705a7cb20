"""Which files of a listing belong to which split: in a folder, or in a repository of the hub.

The conventions are those of `datasets`:
https://huggingface.co/docs/datasets/repository_structure
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from sweeper.data.examples import SPLIT_NAMES, Split
from sweeper.data.problems import listing
from sweeper.data.reading.read import SUFFIXES, data_suffix
from sweeper.errors import DataError, near_match
from sweeper.textfiles import read_text

_SHARD = re.compile(r"[-_.]?\d+([-_.]of[-_.]\d+)?$")
"""``train-00000-of-00002``: the hub's name for one piece of a split."""

_SPLIT_IN_NAME = re.compile(rf"(?:^|[-_. ])({'|'.join(SPLIT_NAMES)})(?=[-_. ]|$)")
"""A split's name inside the name of a file: ``banking77-train``."""

_METADATA_FILES = {"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json"}
"""Files without rows that ``save_to_disk`` of `datasets` writes."""

_CONVERTED_FILE = re.compile(r"(?P<config>[^/]+)/(?P<split>[^/]+)/\d+\.parquet")
"""A file of the hub's own conversion to Parquet:
https://huggingface.co/docs/dataset-viewer/parquet"""

CARD = "README.md"
"""The data set card: a description, below front matter in YAML."""

FilesBySplitName = Mapping[str, Sequence[str]]
"""From the name of a split in the data set (any name, such as ``train_sft``) to its files."""


@dataclass(frozen=True)
class SplitFiles:
    """The files of every split that the data set has, and sentences on how they were chosen."""

    files: dict[Split, tuple[Path, ...]]
    evidence: tuple[str, ...] = ()


def layout(
    folder: Path,
    names: Iterable[str],
    where: str,
    config: str | None = None,
    train: str = "",
) -> SplitFiles:
    """The files of every split.

    Args:
        folder: The folder of the files and of a card, which may declare configurations.
        names: Paths of all its files inside it, with ``/``.
        where: The name of the data set in errors.
        config: The configuration to read; None for the default one.
        train: The data set's name of the split to train on; ``train`` if empty.

    Raises:
        DataError: There is no data file, nothing to train on, or no such configuration or split.
    """
    files = sorted(filter(_is_data_file, names))
    if not files:
        raise DataError(
            f"the folder has no data file ({listing(SUFFIXES)})",
            fix="Name a file, or put train.jsonl (and validation.jsonl, test.jsonl) there.",
            where=where,
            code="no-training-data",
        )
    configs, default = _declared_configurations(folder / CARD, files)
    configs = configs or _converted_configurations(files)
    chosen_config = _chosen_configuration(configs, config, default, where)
    files_by_name = configs.get(chosen_config) or _files_by_name(files, train)
    if not configs:
        _check_shards(files_by_name, where)
    files_by_split = _files_by_split(files_by_name, train, files, where)
    evidence = [f"the configuration {chosen_config!r}"] if len(configs) > 1 else []
    used_files = {file for files in files_by_split.values() for file in files}
    unused_splits = [name for name, files in files_by_name.items() if not used_files & {*files}]
    if unused_splits and len(files_by_name) > 1:
        unused = listing(unused_splits, form="{!r}")
        evidence.append(f"not read: {unused}; data.split names the split to train on")
    if any("/partial-" in name for name in used_files):
        evidence.append("the hub has converted only the beginning of this data set")
    paths = {
        split: tuple(folder / file for file in files) for split, files in files_by_split.items()
    }
    return SplitFiles(paths, tuple(evidence))


def check_one_place(names: Sequence[str], split: str, where: str) -> None:
    """Check that the rows of a split are in one file (or list), so that none join by accident.

    Raises:
        DataError: There are several files.
    """
    if len(names) > 1:
        raise DataError(
            f"{listing(sorted(names))} are all for {split}",
            why="They may hold the same rows, or rows that do not belong together.",
            fix="Keep one of them, or join them into one.",
            where=where,
            code="ambiguous-split",
        )


def _check_shards(files_by_name: FilesBySplitName, where: str) -> None:
    """Check that files with the same stem are shards: of one kind, and numbered if of a split."""
    for files in files_by_name.values():
        paths_by_stem: dict[tuple[PurePosixPath, str], list[PurePosixPath]] = {}
        for path in map(PurePosixPath, files):
            paths_by_stem.setdefault((path.parent, _stem(path)), []).append(path)
        for (_, stem), paths in paths_by_stem.items():
            kinds = {path.suffix.lower() for path in paths}
            numbered = all(_SHARD.search(path.name.split(".")[0]) for path in paths)
            if len(kinds) > 1 or (stem.lower() in SPLIT_NAMES and not numbered):
                check_one_place([path.name for path in paths], stem, where)


def _stem(path: PurePosixPath) -> str:
    """The name of a file without its suffixes and the number of its shard."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return _SHARD.sub("", name.rsplit(".", 1)[0]) or name


def _is_data_file(name: str) -> bool:
    """Whether a file holds rows; a .txt does only if its name or folder is that of a split."""
    path = PurePosixPath(name)
    suffix = data_suffix(path)
    if suffix is None or path.name in _METADATA_FILES or any(p.startswith(".") for p in path.parts):
        return False
    return suffix != ".txt" or _split_name(path) is not None


def _split_name(path: PurePosixPath) -> str | None:
    """The name of a split, if the file or a folder of its path has one."""
    parts = [_stem(path), *reversed(path.parts[:-1])]
    return next((part for part in parts if part.lower() in SPLIT_NAMES), None)


def _files_by_name(files: Sequence[str], train: str) -> FilesBySplitName:
    """Files by the split that their name or folder names, or by their stem if it names none.

    If the top level has a file to train on, subfolders are ignored.
    """
    top_files = [name for name in files if "/" not in name]
    for searched_files in (top_files, files):
        files_by_name: dict[str, list[str]] = {}
        for file in searched_files:
            path = PurePosixPath(file)
            files_by_name.setdefault(_split_name(path) or _stem(path), []).append(file)
        if any(SPLIT_NAMES.get(name.lower()) == "train" or name == train for name in files_by_name):
            return files_by_name
        if len(files_by_name) == 1 and not any(
            name.lower() in SPLIT_NAMES for name in files_by_name
        ):
            return {"train": searched_files}
    files_by_stem: dict[str, list[str]] = {}
    for file in files:
        files_by_stem.setdefault(_stem(PurePosixPath(file)), []).append(file)
    split_of_stem = {
        stem: (_SPLIT_IN_NAME.findall(stem.lower()) or [stem])[0] for stem in files_by_stem
    }
    # Two stems that may mean the same split are not joined.
    if len(set(split_of_stem.values())) < len(files_by_stem):
        return files_by_stem
    return {split_of_stem[stem]: files for stem, files in files_by_stem.items()}


def _declared_configurations(
    card: Path, files: Sequence[str]
) -> tuple[dict[str, FilesBySplitName], str]:
    """The configurations that the card's front matter declares, and its default one."""
    content = read_text(card) if card.is_file() else ""
    front_matter = content[4:].split("\n---", 1)[0] if content.startswith("---\n") else ""
    try:
        declarations: Any = (yaml.safe_load(front_matter) or {}).get("configs") or []
    except (yaml.YAMLError, AttributeError):
        return {}, "default"
    configs: dict[str, FilesBySplitName] = {}
    default = "default"
    for config in declarations if isinstance(declarations, list) else []:
        if not isinstance(config, dict):
            continue
        folder = str(config.get("data_dir") or "").strip("./")
        files_in_folder = [name for name in files if not folder or name.startswith(f"{folder}/")]
        data_files = config.get("data_files")
        if data_files is None:
            files_by_name: FilesBySplitName = _files_by_name(files_in_folder, "")
        else:
            files_by_name = {
                split: [
                    name
                    for name in files_in_folder
                    if any(_matches_pattern(name, pattern, folder) for pattern in patterns)
                ]
                for split, patterns in _patterns(data_files).items()
            }
        files_by_name = {split: names for split, names in files_by_name.items() if names}
        if files_by_name:
            name = str(config.get("config_name", "default"))
            configs[name] = files_by_name
            default = name if config.get("default") else default
    return configs, default


def _patterns(data_files: object) -> dict[str, list[str]]:
    """From a split to its patterns of files, from any way in which a card may write them."""
    if isinstance(data_files, dict):
        data_files = [{"split": split, "path": paths} for split, paths in data_files.items()]
    patterns: dict[str, list[str]] = {}
    for entry in _as_list(data_files):
        item = entry if isinstance(entry, dict) else {"path": entry}
        split = str(item.get("split", "train"))
        patterns.setdefault(split, []).extend(map(str, _as_list(item.get("path"))))
    return patterns


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _matches_pattern(name: str, pattern: str, folder: str) -> bool:
    """Whether a file matches a pattern, which may be relative to the configuration's folder."""
    pattern = pattern.removeprefix("./")
    if folder and not pattern.startswith(f"{folder}/"):
        pattern = f"{folder}/{pattern}"
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("**/", ""))


def _converted_configurations(files: Sequence[str]) -> dict[str, FilesBySplitName]:
    """The configurations of a conversion by the hub; empty if these files are not one."""
    configs: dict[str, dict[str, list[str]]] = {}
    for name in files:
        match = _CONVERTED_FILE.fullmatch(name)
        if match is None:
            return {}
        split = match["split"].removeprefix("partial-")
        configs.setdefault(match["config"], {}).setdefault(split, []).append(name)
    is_split = any(split in SPLIT_NAMES for parts in configs.values() for split in parts)
    return dict(configs) if is_split else {}


def _chosen_configuration(
    configs: Mapping[str, FilesBySplitName], config: str | None, default: str, where: str
) -> str:
    """The configuration to read; empty if the data set has none.

    Raises:
        DataError: There is no such configuration, or the user has to choose one.
    """
    if config is not None and config not in configs:
        raise DataError(
            f"the data set has no configuration {config!r}",
            fix=near_match(config, list(configs)) if configs else "Leave out data.name.",
            where=where,
        )
    if config is not None or len(configs) < 2:
        return config or next(iter(configs), "")
    if default in configs:
        return default
    raise DataError(
        f"the data set has {len(configs)} configurations: {listing(configs)}",
        fix=f"Name one, for example --data-name {next(iter(configs))}.",
        where=where,
    )


def _files_by_split(
    files_by_name: FilesBySplitName, train: str, files: Sequence[str], where: str
) -> dict[Split, tuple[str, ...]]:
    """The files of train and, where the data set has them, of validation and test.

    Raises:
        DataError: There is no split to train on, or several files may be the same split.
    """
    if train and train not in files_by_name:
        raise DataError(
            f"there is no split {train!r}", fix=near_match(train, list(files_by_name)), where=where
        )
    # With `train_sft`, the test split is `test_sft`, even if there is a `test`, too.
    ending = train.removeprefix("train") if train.startswith("train") else ""
    files_by_split: dict[Split, tuple[str, ...]] = {}
    for name in sorted(files_by_name, key=lambda name: not name.endswith(ending)):
        split = SPLIT_NAMES.get(name.lower().removesuffix(ending))
        if name == train:
            split = "train"
        elif train and split == "train":
            continue
        if split in files_by_split and not ending:
            check_one_place([*files_by_split[split], *files_by_name[name]], split, where)
        if split is not None:
            files_by_split.setdefault(split, tuple(files_by_name[name]))
    if "train" in files_by_split:
        return files_by_split
    names = [PurePosixPath(file).name for file in files]
    raise DataError(
        f"the folder has no file for training, only {listing(names)}",
        why="A split is recognised by its name: train, validation (val, dev) or test.",
        fix="Rename the file for training to train.*, name one file instead of the folder, or "
        f"name the split to train on: --data-split {next(iter(files_by_name))}.",
        where=where,
        code="no-training-data",
    )
