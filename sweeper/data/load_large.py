"""The data set of large files: its examples stay on the disk, in a folder that is made once.

Examples are sorted by key without holding all of them. They are divided into files by the first
byte of their key, a hash. Each file is small enough to be sorted in memory, and the files one
after the other give all examples in order. An example is one line: its key, content hash, split,
line number and content.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from pydantic import TypeAdapter

from sweeper.cache import home, made_and_touched
from sweeper.data import checks
from sweeper.data.contents import file_and_key
from sweeper.data.examples import SPLITS, DataFault, Dataset, Example, Split
from sweeper.data.further_rows import marking_columns
from sweeper.data.labels import LabelChanges, SeenLabels, label_changes, with_label
from sweeper.data.load import (
    chosen_rows,
    dataset_of_rows,
    fingerprint_of_hashes,
    make_dataset,
    shares_taken,
    take_examples,
)
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.files import split_files
from sweeper.data.rows import DataRows, read_rows
from sweeper.data.splits import Repeated, class_of, placement, repeated_in
from sweeper.data.table import WRITE_BUFFER_BYTES, LazySequence, item_writer, stored_items
from sweeper.spec import DataSpec, Task

_SORTED_FILES = 256
"""Number of files into which rows are divided, at most 256: 40 MB each for 10 GB."""

_KEY_CHARACTERS = 32
"""Length of a key, and of a content hash."""

_HEAD_CHARACTERS = 2 * _KEY_CHARACTERS + 13
_EXAMPLE = TypeAdapter(Example)
_DATASET = TypeAdapter(Dataset)
_RECORD_FILE = "dataset.json"


def _line_of(split: Split, example: Example) -> bytes:
    """The line of one example; lines sort by key, content hash, split and line number."""
    head = f"{example.key}{example.content_hash()}{SPLITS.index(split)}{example.line:012}"
    return b"%s%s\n" % (head.encode(), _EXAMPLE.dump_json(example))


def _example_of(line: bytes | memoryview) -> Example:
    return _EXAMPLE.validate_json(bytes(line[_HEAD_CHARACTERS:]))


def _content_hash_of(line: bytes | memoryview) -> str:
    return bytes(line[_KEY_CHARACTERS : 2 * _KEY_CHARACTERS]).decode()


def _split_of(line: bytes) -> Split:
    return SPLITS[line[2 * _KEY_CHARACTERS] - ord("0")]


class _SortedRows:
    """The lines of examples in files, each of which is sorted when it is read.

    Args:
        folder: Folder for the files, which is made here.
        classes: Whether rows have labels, so that each class is split by itself.
    """

    def __init__(self, folder: Path, classes: bool) -> None:
        folder.mkdir()
        self._classes = classes
        self._paths = [folder / f"{part:02x}" for part in range(_SORTED_FILES)]
        self._files = [path.open("wb", WRITE_BUFFER_BYTES) for path in self._paths]
        self.changes: LabelChanges = {}

    def add(self, split: Split, example: Example) -> None:
        self._files[int(example.key[:2], 16) * _SORTED_FILES // 256].write(_line_of(split, example))

    def close(self) -> None:
        """Close the files; nothing can be added any more."""
        for file in self._files:
            file.close()

    def groups(self, what: str) -> Iterator[tuple[str, str, list[bytes]]]:
        """Key, class in train (or empty) and lines of each input, in key order."""
        for path in with_progress(self._paths, what, len(self._paths)):
            lines = path.read_bytes().splitlines(keepends=True)
            if self.changes:
                lines = [new for line in lines if (new := self._with_new_label(line))]
            for key, group in groupby(sorted(lines), key=lambda line: line[:_KEY_CHARACTERS]):
                rows = list(group)
                labels = [
                    _example_of(r).label for r in rows if self._classes and _split_of(r) == "train"
                ]
                yield key.decode(), class_of(labels) if labels else "", rows

    def _with_new_label(self, line: bytes) -> bytes | None:
        changed_example = with_label(self.changes, _split_of(line), _example_of(line))
        return _line_of(_split_of(line), changed_example) if changed_example else None


@contextmanager
def _split_writer(folder: Path) -> Iterator[Callable[[Split, bytes], None]]:
    """A function that appends the line of an example to the file of its split."""
    with ExitStack() as opened:
        files = {split: opened.enter_context(item_writer(folder / split)) for split in SPLITS}
        yield lambda split, line: files[split](line)


def load(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, in three splits; that of a large file stays on the disk.

    All rows are read into memory if ``data.split_by`` is not ``stratified``, or if a column marks
    rows as made from others.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. All problems of a stage are
            listed, with file and line.
    """
    source = split_files(spec)
    paths = [path for paths in source.files.values() for path in paths]
    read_as = f"{version('finetune-sweeper')} {task} {spec.model_dump_json()}"
    folder = home() / "examples" / _content_name(paths, read_as)
    if not folder.is_dir():
        data = read_rows(spec, task, source)
        mark_columns = marking_columns() & set(data.columns)
        if not isinstance(data.rows, LazySequence) or spec.split_by != "stratified" or mark_columns:
            return dataset_of_rows(data, spec)
        made_and_touched(folder, lambda folder: _write_dataset(folder, data, spec))
    dataset = _DATASET.validate_json((folder / _RECORD_FILE).read_bytes())
    os.utime(folder)
    return replace(dataset, splits=_stored_splits(folder))


def _content_name(paths: Sequence[Path], read_as: str) -> str:
    """A name for the content of files; it changes with their path, size or time."""
    files = [file_and_key(path)[0] for path in paths]
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((state, read_as)).encode(), digest_size=16).hexdigest()


def _stored_splits(folder: Path) -> dict[Split, Sequence[Example]]:
    """The examples of each split, each read from the file when it is accessed."""

    def stored_examples(split: Split) -> LazySequence[Example]:
        rows = stored_items(folder / split, _example_of)
        what = f"going through the rows of {split}"
        return LazySequence(
            len(rows), rows.__getitem__, lambda: iter(with_progress(rows, what, len(rows)))
        )

    return {split: stored_examples(split) for split in SPLITS}


def _write_dataset(folder: Path, data: DataRows, spec: DataSpec) -> None:
    """Write the splits of a data set and its record."""
    name = str(spec.path)
    seen_labels = {split: SeenLabels() for split in data.official}
    with closing(_SortedRows(folder / "sorting", data.task == "classification")) as rows:

        def take(split: Split, example: Example) -> None:
            seen_labels[split].add(example)
            rows.add(split, example)

        left_out = take_examples(data, spec, take)
    faults: tuple[DataFault, ...] = ()
    if data.task == "classification" and any(labels.rows for labels in seen_labels.values()):
        rows.changes, faults = label_changes(seen_labels, spec)
    rows_by_label = seen_labels["train"].rows.items()
    train_rows = sum(
        n for label, n in rows_by_label if rows.changes.get(("train", label), "") is not None
    )
    shares = shares_taken(set(data.official), train_rows, spec, name)
    inputs = (
        (key, group_class)
        for key, group_class, lines in rows.groups("dividing into splits")
        if any(_split_of(line) == "train" for line in lines)
    )
    split_of = placement(inputs, shares, spec.split_seed)
    repeated = Repeated()
    with _split_writer(folder) as write:
        for key, group_class, lines in rows.groups("writing splits"):
            file_splits = [_split_of(line) for line in lines]
            carved_split = split_of(key, group_class) if "train" in file_splits else "train"
            splits_of_rows = [carved_split if split == "train" else split for split in file_splits]
            for split, line in zip(splits_of_rows, lines, strict=True):
                write(split, line)
            repeated.add(
                splits_of_rows,
                map(_content_hash_of, lines),
                (_example_of(line).answer for line in lines),
            )
    shutil.rmtree(folder / "sorting")
    splits = _stored_splits(folder)
    if not all(splits.values()):
        checks.check_sizes({split: list(rows) for split, rows in splits.items()}, name)
    if data.task == "classification":
        checks.check_classes_of_train(splits, name)
    if spec.max_rows is not None:
        chosen_splits = chosen_rows(splits, spec)
        repeated = repeated_in(chosen_splits)
        with _split_writer(folder) as write:
            for split, examples in chosen_splits.items():
                for example in examples:
                    write(split, _line_of(split, example))
        splits = _stored_splits(folder)
    hashes = {split: stored_items(folder / split, _content_hash_of) for split in SPLITS}
    dataset = make_dataset(
        data, left_out, splits, fingerprint_of_hashes(hashes), repeated, faults, spec
    )
    (folder / _RECORD_FILE).write_bytes(_DATASET.dump_json(replace(dataset, splits={})))
