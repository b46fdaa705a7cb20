"""Data sets of the Hugging Face hub, as files in the hub's own cache.

Only files are read (Parquet, JSON Lines, CSV, ...), and no program is run: a data set that only a
script can load is read from the hub's conversion to Parquet, or refused. The list of files of a
commit is stored, so that later calls and workers do not ask the hub again.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TypeVar

from huggingface_hub import constants

from sweeper.artifact import Record
from sweeper.cache import home
from sweeper.data.hub_client import (
    TIMEOUT_SECONDS,
    answer_in_time,
    is_hub_id,
    progress_class,
    refusal,
    switched_off,
)
from sweeper.data.reading.layout import SplitFiles, layout
from sweeper.data.reading.read import data_suffix
from sweeper.errors import DataError, Problem, near_match
from sweeper.features.parts import Options, named_data
from sweeper.spec import DataSpec, SourceSpec, Spec
from sweeper.textfiles import read_text, write_text

CONVERSION = "refs/convert/parquet"
"""The branch with the hub's own conversion of a data set."""

_CARD = "README.md"

Tell = Callable[[int, int], None]

_AnySource = DataSpec | SourceSpec
_Source = TypeVar("_Source", DataSpec, SourceSpec)


def is_hub_data(spec: _AnySource) -> bool:
    """Whether the data are named by an id of the hub: no file or folder has that name."""
    name = spec.path
    if name is None or not is_hub_id(name) or name.startswith(".") or data_suffix(Path(name)):
        return False
    path = Path(name)
    return not path.exists() and ("/" not in name or not path.parent.is_dir())


class _Listing(Record):
    """The names of all files of one commit."""

    commit: str
    names: tuple[str, ...]


def pinned(spec: DataSpec, tell: Tell = lambda _done, _of: None) -> DataSpec:
    """The spec with the present commits of its hub data sets, whose files are downloaded.

    Raises:
        DataError: The hub cannot be reached or refuses a data set, or it has no readable files.
    """
    sources = tuple(_with_commit(source, tell) for source in spec.sources)
    update: dict[str, object] = {"sources": sources}
    return _with_commit(spec.model_copy(update=update), tell)


def with_commits(spec: Spec, tell: Tell = lambda _done, _of: None) -> Spec:
    """The request with the commits of all data sets that it names, also for features.

    Raises:
        DataError: As ``pinned``.
    """
    changed_options: dict[str, Options] = {}
    for data in named_data(spec.features):
        commit = _with_commit(SourceSpec(path=data.path, revision=data.commit), tell).revision
        options = changed_options.get(data.feature, getattr(spec.features, data.feature))
        changed_options[data.feature] = options.model_copy(update={data.commit_in: commit})
    features = spec.features.model_copy(update=changed_options)
    return spec.model_copy(update={"data": pinned(spec.data, tell), "features": features})


def _with_commit(source: _Source, tell: Tell) -> _Source:
    if not is_hub_data(source):
        return source
    listing = _listing(source)
    source = source.model_copy(update={"revision": listing.commit})
    _downloaded_splits(source, listing, tell)
    return source


def hub_files(spec: DataSpec) -> SplitFiles:
    """The files of each split, downloaded if needed."""
    return _downloaded_splits(spec, _listing(spec), lambda _done, _of: None)


def _listing(spec: _AnySource) -> _Listing:
    """The names of the files, from this machine if the commit is known, else from the hub."""
    folder = home() / "data-listings" / str(spec.path).replace("/", "--")
    revision = spec.revision or "main"
    with suppress(OSError, ValueError):
        return _Listing.model_validate_json(
            read_text(folder / f"{revision.replace('/', '--')}.json")
        )
    answer: _Listing | Problem | None = switched_off(str(spec.path))
    if answer is None:
        answer = answer_in_time(lambda: _request_listing(spec), 2 * TIMEOUT_SECONDS)
    if isinstance(answer, Problem):
        raise DataError([_not_found_problem(spec, answer)])
    for name in {revision.replace("/", "--"), answer.commit}:
        write_text(folder / f"{name}.json", answer.model_dump_json())
    return answer


def _not_found_problem(spec: _AnySource, answer: Problem) -> Problem:
    """The problem that neither this folder nor the hub has the data, with fixes for both."""
    path = str(spec.path)
    what = f"there is no file or folder {path!r} here, and as a data set of the hub: {answer.what}"
    hint = near_match(path, [entry.name for entry in Path().iterdir()])
    path_fix = hint if hint.startswith("Did") else "Check the path, relative to the current folder."
    fix = answer.fix or "A data set of the hub is read once the hub can be reached."
    return Problem(what, answer.why, f"{path_fix} {fix}", path)


def _request_listing(spec: _AnySource) -> _Listing | Problem:
    # Imported here, as it loads the hub's client.
    from huggingface_hub import HfApi

    repository = str(spec.path)
    api, revision = HfApi(), spec.revision
    try:
        info = api.dataset_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)
        names = _file_names(info)
        if revision is None and not _has_row_files(repository, names):
            try:
                info = api.dataset_info(repository, revision=CONVERSION, timeout=TIMEOUT_SECONDS)
                names = _file_names(info)
            except Exception as error:
                if getattr(error.__cause__ or error, "response", None) is None:
                    raise
    except Exception as error:  # noqa: BLE001 - also the errors of the client's network library
        return refusal(error, repository, revision, "data set")
    if not _has_row_files(repository, names):
        return _no_files_problem(repository, names)
    return _Listing(commit=str(info.sha), names=names)


def _file_names(info: object) -> tuple[str, ...]:
    names = (sibling.rfilename for sibling in getattr(info, "siblings", None) or ())
    return tuple(name for name in names if not name.startswith("/"))


def _script_name(repository: str) -> str:
    return f"{repository.rsplit('/', 1)[-1]}.py"


def _has_row_files(repository: str, names: tuple[str, ...]) -> bool:
    """Whether the rows are in files, so that no script is needed."""
    return _script_name(repository) not in names and any(
        data_suffix(PurePosixPath(n)) for n in names
    )


def _no_files_problem(repository: str, names: tuple[str, ...]) -> Problem:
    kinds = sorted({PurePosixPath(name).suffix or name for name in names})
    return Problem(
        f"the data set has no file of rows that can be read (only {', '.join(kinds) or 'nothing'})",
        why="A program in a data set is not run; the hub has no Parquet conversion of its rows.",
        fix="Load it yourself, save its rows with `Dataset.to_json`, and name that file.",
        where=f"{constants.ENDPOINT}/datasets/{repository}",
    )


def _downloaded_splits(spec: _AnySource, listing: _Listing, tell: Tell) -> SplitFiles:
    repository = str(spec.path)
    name = f"datasets--{repository.replace('/', '--')}"
    folder = Path(constants.HF_HUB_CACHE, name, "snapshots", listing.commit)
    card = folder / _CARD if _CARD in listing.names else None
    _download(repository, listing.commit, folder, [card] if card else [], tell)
    text = read_text(card) if card else ""
    split_files = layout(folder, listing.names, repository, text, spec.name, spec.split or "")
    _download(repository, listing.commit, folder, [*chain(*split_files.files.values())], tell)
    evidence = (
        f"commit {listing.commit[:12]} of the hub's data set {repository}",
        *split_files.evidence,
    )
    return SplitFiles(split_files.files, evidence)


def _download(
    repository: str, commit: str, folder: Path, paths: Sequence[Path], tell: Tell
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
            tqdm_class=progress_class(tell),
        )
    except Exception as error:  # also those of the client's network library
        raise DataError([refusal(error, repository, commit, "data set")]) from error
    if failed := [path.name for path in missing if not path.is_file()]:
        raise DataError(f"the hub did not send {failed[0]}", fix="Try again.", where=repository)
