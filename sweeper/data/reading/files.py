"""The files of each split of a data set: on this machine, or on the Hugging Face hub.

Of a data set on the hub, only files are read (Parquet, JSON Lines, CSV, ...), and no program is
run: if only a script can load it, the hub's conversion to Parquet is read, or it is refused. The
list of files of a commit is stored, so that later calls and workers do not ask the hub again.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TypeVar

from huggingface_hub import constants

from sweeper.artifact import Record
from sweeper.cache import home
from sweeper.data.examples import SPLIT_NAMES, SPLITS, Split
from sweeper.data.hub_client import (
    TIMEOUT_SECONDS,
    OnDownload,
    answer_in_time,
    is_hub_id,
    progress_class,
    refusal,
    switched_off,
)
from sweeper.data.problems import listing
from sweeper.data.reading.layout import CARD, SplitFiles, check_one_place, layout
from sweeper.data.reading.read import data_suffix, keys_of
from sweeper.errors import DataError, Problem, near_match
from sweeper.features.parts import Options, named_data
from sweeper.spec import DataSpec, SourceSpec, Spec
from sweeper.textfiles import read_text, write_text

_MAX_DEPTH = 3
"""Levels of subfolders that are searched: ``data/CONFIG/SPLIT/`` is the deepest usual one."""

MAX_FILES = 10_000
"""A folder with more files is not a data set but, for example, a home folder."""

CONVERSION = "refs/convert/parquet"
"""The branch with the hub's own conversion of a data set."""

_AnySource = DataSpec | SourceSpec
_Source = TypeVar("_Source", DataSpec, SourceSpec)


def split_files(spec: DataSpec) -> SplitFiles:
    """The files of every split that the data set has; ``train`` is always among them.

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
    """The files of ``spec.path``, without those of ``spec.validation`` and ``spec.test``."""
    path = Path(str(spec.path))
    if is_hub_data(spec):
        return hub_files(spec)
    _check_exists(path)
    if spec.revision is not None:
        raise DataError(
            "a revision names a commit of the hub, but these data are on this machine",
            fix="Leave the revision out.",
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
    return layout(path, _file_names(path), str(path), spec.name, spec.split or "")


def _splits_in_file(path: Path) -> SplitFiles:
    """The file alone, or the splits in a JSON file, each as a path ``FILE/KEY.json``.

    No file has such a path; ``file_and_key`` takes it apart.
    """
    keys = keys_of(path)
    split_by_key = {key: SPLIT_NAMES[key.lower()] for key in keys if key.lower() in SPLIT_NAMES}
    if "train" not in split_by_key.values():
        return SplitFiles({"train": (path,)})
    files: dict[Split, tuple[Path, ...]] = {}
    for split in SPLITS:
        split_keys = [key for key in split_by_key if split_by_key[key] == split]
        check_one_place([f"`{key}`" for key in split_keys], split, str(path))
        if split_keys:
            files[split] = (path / f"{split_keys[0]}.json",)
    evidence = [f"an object with the splits {listing(split_by_key, form='`{}`')}"]
    if unread_keys := [key for key in keys if key not in split_by_key]:
        evidence.append(f"not read: {listing(unread_keys, form='`{}`')}")
    return SplitFiles(files, tuple(evidence))


def _file_names(folder: Path) -> Iterator[str]:
    """The files in a folder and its subfolders, as paths relative to it.

    Raises:
        DataError: There are more than ``MAX_FILES``.
    """
    count = 0
    for parent, folders, files in os.walk(folder):
        parent_path = Path(parent).relative_to(folder)
        is_deep = len(parent_path.parts) >= _MAX_DEPTH
        folders[:] = [] if is_deep else [name for name in folders if not name.startswith(".")]
        count += len(files)
        if count > MAX_FILES:
            raise DataError(
                f"the folder has more than {MAX_FILES:,} files",
                fix="Name a file, or a folder with the data alone.",
                where=str(folder),
            )
        yield from ((parent_path / name).as_posix() for name in files)


def _check_exists(path: Path) -> None:
    fix = ""
    with suppress(OSError, ValueError):  # a path that cannot be looked up
        if path.exists():
            return
        if path.is_symlink():
            fix = "This link leads to nothing: give the file itself, or renew the link."
    fix = fix or _path_fix(path.name, path.parent)
    raise DataError("no such file or folder", fix=fix, where=str(path))


def _path_fix(name: str, folder: Path) -> str:
    """A hint at a file of the folder with a similar name, if there is one."""
    hint = ""
    with suppress(OSError, ValueError):
        hint = near_match(name, [entry.name for entry in folder.iterdir()])
    return hint if hint.startswith("Did") else "Check the path, relative to the current folder."


def is_hub_data(source: _AnySource) -> bool:
    """Whether the data are named by an id of the hub: no file or folder has that name."""
    name = source.path
    if name is None or not is_hub_id(name) or name.startswith(".") or data_suffix(Path(name)):
        return False
    path = Path(name)
    return not path.exists() and ("/" not in name or not path.parent.is_dir())


class _CommitFiles(Record):
    """The names of all files of one commit."""

    commit: str
    names: tuple[str, ...]


def with_commits(spec: Spec, progress: OnDownload = lambda _done, _of: None) -> Spec:
    """The spec with the commit of each data set on the hub; downloads their files.

    It is the commit that an earlier call stored, if there is one; otherwise the hub is asked.

    Raises:
        DataError: The hub cannot be reached or refuses a data set, or it has no readable files.
    """
    sources = tuple(_with_commit(source, progress) for source in spec.data.sources)
    data_spec = _with_commit(spec.data.model_copy(update={"sources": sources}), progress)
    options_by_feature: dict[str, Options] = {}
    for data in named_data(spec.features):
        commit = _with_commit(SourceSpec(path=data.path, revision=data.commit), progress).revision
        options = options_by_feature.get(data.feature, getattr(spec.features, data.feature))
        options_by_feature[data.feature] = options.model_copy(update={data.commit_in: commit})
    features = spec.features.model_copy(update=options_by_feature)
    return spec.model_copy(update={"data": data_spec, "features": features})


def _with_commit(source: _Source, progress: OnDownload) -> _Source:
    """The source with its commit, if it is on the hub; downloads its files."""
    if not is_hub_data(source):
        return source
    source = source.model_copy(update={"revision": _commit_files(source).commit})
    hub_files(source, progress)
    return source


def hub_files(source: _AnySource, progress: OnDownload = lambda _done, _of: None) -> SplitFiles:
    """The files of each split, downloaded if needed."""
    repository, commit_files = str(source.path), _commit_files(source)
    commit, names = commit_files.commit, commit_files.names
    repository_folder = f"datasets--{repository.replace('/', '--')}"
    folder = Path(constants.HF_HUB_CACHE, repository_folder, "snapshots", commit)
    _download(repository, commit, folder, [folder / CARD] if CARD in names else [], progress)
    split_files = layout(folder, names, repository, source.name, source.split or "")
    _download(repository, commit, folder, [*chain(*split_files.files.values())], progress)
    evidence = f"commit {commit[:12]} of the hub's data set {repository}"
    return SplitFiles(split_files.files, (evidence, *split_files.evidence))


def _commit_files(source: _AnySource) -> _CommitFiles:
    """The names of the files, as stored on this machine or, if they are not, from the hub."""
    folder = home() / "data-listings" / str(source.path).replace("/", "--")
    revision = (source.revision or "main").replace("/", "--")
    with suppress(OSError, ValueError):
        return _CommitFiles.model_validate_json(read_text(folder / f"{revision}.json"))
    answer: _CommitFiles | Problem | None = switched_off(str(source.path))
    if answer is None:
        answer = answer_in_time(lambda: _request_commit_files(source), 2 * TIMEOUT_SECONDS)
    if isinstance(answer, Problem):
        raise DataError([_not_found_problem(str(source.path), answer)])
    for name in {revision, answer.commit}:
        write_text(folder / f"{name}.json", answer.model_dump_json())
    return answer


def _not_found_problem(path: str, answer: Problem) -> Problem:
    """The problem that neither this folder nor the hub has the data, with fixes for both."""
    what = f"there is no file or folder {path!r} here, and as a data set of the hub: {answer.what}"
    fix = answer.fix or "If you mean a data set of the hub, try again when the hub can be reached."
    return Problem(what, answer.why, f"{_path_fix(path, Path())} {fix}", path)


def _request_commit_files(source: _AnySource) -> _CommitFiles | Problem:
    """The files of a commit or, if these hold no rows, those of the hub's conversion."""
    # Imported here, as it loads the hub's client.
    from huggingface_hub import HfApi

    repository, api = str(source.path), HfApi()

    def request(revision: str | None) -> _CommitFiles:
        info = api.dataset_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)
        names = (sibling.rfilename for sibling in info.siblings or ())
        return _CommitFiles(
            commit=str(info.sha), names=tuple(n for n in names if not n.startswith("/"))
        )

    try:
        files = request(source.revision)
        if source.revision is None and not _has_row_files(repository, files.names):
            try:
                files = request(CONVERSION)
            except Exception as error:
                # A refusal means that there is no conversion.
                if getattr(error.__cause__ or error, "response", None) is None:
                    raise
    except Exception as error:  # noqa: BLE001 - also the errors of the client's network library
        return refusal(error, repository, source.revision, "data set")
    if _has_row_files(repository, files.names):
        return files
    kinds = sorted({PurePosixPath(name).suffix or name for name in files.names})
    return Problem(
        f"the data set has no file of rows that can be read (only {', '.join(kinds) or 'nothing'})",
        why="A program in a data set is not run; the hub has no Parquet conversion of its rows.",
        fix="Load it yourself, save its rows with `Dataset.to_json`, and name that file.",
        where=f"{constants.ENDPOINT}/datasets/{repository}",
    )


def _has_row_files(repository: str, names: tuple[str, ...]) -> bool:
    """Whether the rows are in files, so that no script is needed."""
    script = f"{repository.rsplit('/', 1)[-1]}.py"  # a loading script has the data set's name
    return script not in names and any(data_suffix(PurePosixPath(name)) for name in names)


def _download(
    repository: str, commit: str, folder: Path, paths: Sequence[Path], progress: OnDownload
) -> None:
    """Download files that the cache lacks; a file in the cache is complete."""
    missing = [path for path in paths if not path.is_file()]
    if not missing:
        return
    if problem := switched_off(repository):
        what = f"{len(missing)} files of this data set are not on this machine: {problem.what}"
        raise DataError([replace(problem, what=what)])
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository,
            repo_type="dataset",
            revision=commit,
            allow_patterns=[glob.escape(str(path.relative_to(folder))) for path in missing],
            tqdm_class=progress_class(progress),
        )
    except Exception as error:  # also those of the client's network library
        raise DataError([refusal(error, repository, commit, "data set")]) from error
    if failed := [path.name for path in missing if not path.is_file()]:
        raise DataError(f"the hub did not send {failed[0]}", fix="Try again.", where=repository)
