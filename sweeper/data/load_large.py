"""The data set of large files: its examples stay on the disk, in a folder that is made once.

Examples are put in the order of their keys without holding them. Rows are divided by the first byte
of their key, which is a hash: each part is small enough to be sorted in memory, and one part after
the other gives all rows in order. An example is one line, its key, content hash, split and line
number in front of its content.
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

from sweeper.cache import home, made_while_used
from sweeper.data import checks
from sweeper.data.contents import part_of
from sweeper.data.examples import SPLITS, Dataset, Example, Split
from sweeper.data.faults import DataFault
from sweeper.data.further_rows import marking_columns
from sweeper.data.item_files import BUFFER_BYTES, stored_items, writing
from sweeper.data.labels import LabelChanges, SeenLabels, label_changes, with_label
from sweeper.data.load import (
    chosen_rows,
    dataset_of_rows,
    described,
    fingerprint_by,
    shares_taken,
    take_examples,
)
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.files import split_files
from sweeper.data.rows import DataRows, read_rows
from sweeper.data.splits import Repeated, class_of, placement, repeated_in
from sweeper.data.table import Stored
from sweeper.spec import DataSpec, Task

_PARTS = 256
"""At most 256: 40 MB of rows each in a file of 10 GB."""

_KEY = 32
"""Characters of a key and of a content hash."""

_HEAD = 2 * _KEY + 13
_EXAMPLE = TypeAdapter(Example)
_DATASET = TypeAdapter(Dataset)
_RECORD = "dataset.json"


def _line(split: Split, example: Example) -> bytes:
    """The line of one example; lines sort by key, content hash, split and line number."""
    head = f"{example.key}{example.content_hash()}{SPLITS.index(split)}{example.line:012}"
    return b"%s%s\n" % (head.encode(), _EXAMPLE.dump_json(example))


def _example(line: bytes | memoryview) -> Example:
    return _EXAMPLE.validate_json(bytes(line[_HEAD:]))


def _hash(line: bytes | memoryview) -> str:
    return bytes(line[_KEY : 2 * _KEY]).decode()


def _split(line: bytes) -> Split:
    return SPLITS[line[2 * _KEY] - ord("0")]


class _SortedRows:
    """The lines of examples in files, each of which is sorted when it is read.

    Args:
        folder: For the files; made here.
        classes: Rows have labels, and each class is divided by itself.
    """

    def __init__(self, folder: Path, classes: bool) -> None:
        folder.mkdir()
        self._classes = classes
        self._rows = 0
        self._paths = [folder / f"{part:02x}" for part in range(_PARTS)]
        self._files = [path.open("wb", BUFFER_BYTES) for path in self._paths]
        self.changes: LabelChanges = {}

    def add(self, split: Split, example: Example) -> None:
        self._rows += 1
        self._files[int(example.key[:2], 16) * _PARTS // 256].write(_line(split, example))

    def __len__(self) -> int:
        return self._rows

    def close(self) -> None:
        """End adding."""
        for file in self._files:
            file.close()

    def groups(self, what: str) -> Iterator[tuple[str, str, list[bytes]]]:
        """Key, class and lines of each input, in order; the class is that of its rows of train."""
        for path in with_progress(self._paths, what, len(self._paths)):
            lines = path.read_bytes().splitlines(keepends=True)
            if self.changes:
                lines = [new for line in lines if (new := self._changed(line))]
            for key, group in groupby(sorted(lines), key=lambda line: line[:_KEY]):
                rows = list(group)
                labels = [_example(r).label for r in rows if self._classes and _split(r) == "train"]
                yield key.decode(), class_of(labels) if labels else "", rows

    def _changed(self, line: bytes) -> bytes | None:
        new = with_label(self.changes, _split(line), _example(line))
        return _line(_split(line), new) if new else None


@contextmanager
def _written(folder: Path) -> Iterator[Callable[[Split, bytes], None]]:
    """Writes the line of an example behind those of its split."""
    with ExitStack() as opened:
        files = {split: opened.enter_context(writing(folder / split)) for split in SPLITS}
        yield lambda split, line: files[split](line)


def stored_examples(folder: Path, split: Split) -> Stored[Example]:
    """The examples of a split, each read when it is asked for."""
    rows = stored_items(folder / split, _example)
    what = f"going through the rows of {split}"
    return Stored(len(rows), rows.__getitem__, lambda: iter(with_progress(rows, what, len(rows))))


def load(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, in three splits; that of a large file stays on the disk.

    Rows are read into memory where near duplicates, groups or times divide them, and where some
    are marked as no originals.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. All problems of a stage are
            listed, with file and line.
    """
    source = split_files(spec)
    paths = [path for paths in source.files.values() for path in paths]
    read_as = f"{version('finetune-sweeper')} {task} {spec.model_dump_json()}"
    folder = home() / "examples" / _state_of(paths, read_as)
    if not folder.is_dir():
        data = read_rows(spec, task, source)
        marked = marking_columns() & set(data.columns)
        if not isinstance(data.rows, Stored) or spec.split_by != "stratified" or marked:
            return dataset_of_rows(data, spec)
        made_while_used(folder, lambda folder: _store(folder, data, spec))
    dataset = _DATASET.validate_json((folder / _RECORD).read_bytes())
    os.utime(folder)
    return replace(dataset, splits=_splits(folder))


def _state_of(paths: Sequence[Path], read_as: str) -> str:
    """A name for files as they are now: another one when their path, size or time changes."""
    files = [part_of(path)[0] for path in paths]
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((state, read_as)).encode(), digest_size=16).hexdigest()


def _splits(folder: Path) -> dict[Split, Sequence[Example]]:
    return {split: stored_examples(folder, split) for split in SPLITS}


def _store(folder: Path, data: DataRows, spec: DataSpec) -> None:
    """Write the splits of a data set and all that is known of it."""
    name = str(spec.path)
    seen = {split: SeenLabels() for split in data.official}
    with closing(_SortedRows(folder / "sorting", data.task == "classification")) as rows:

        def take(split: Split, example: Example) -> None:
            seen[split].add(example)
            rows.add(split, example)

        left_out = take_examples(data, spec, take)
    faults: tuple[DataFault, ...] = ()
    if data.task == "classification" and len(rows):
        rows.changes, faults = label_changes(seen, spec)
    counted = seen["train"].rows.items()
    trained = sum(n for label, n in counted if rows.changes.get(("train", label), "") is not None)
    taken = shares_taken(set(data.official), trained, spec, name)
    inputs = (
        (key, group_class)
        for key, group_class, lines in rows.groups("dividing into splits")
        if any(_split(line) == "train" for line in lines)
    )
    split_of = placement(inputs, taken, spec.split_seed)
    repeated = Repeated()
    with _written(folder) as write:
        for key, group_class, lines in rows.groups("writing splits"):
            own = [_split(line) for line in lines]
            carved = split_of(key, group_class) if "train" in own else "train"
            final = [carved if split == "train" else split for split in own]
            for split, line in zip(final, lines, strict=True):
                write(split, line)
            repeated.add(final, map(_hash, lines), (_example(line).answer for line in lines))
    shutil.rmtree(folder / "sorting")
    splits = _splits(folder)
    if not all(splits.values()):
        checks.check_sizes({split: list(rows) for split, rows in splits.items()}, name)
    if data.task == "classification":
        checks.check_seen(splits, name)
    if spec.max_rows is not None:
        chosen = chosen_rows(splits, spec)
        repeated = repeated_in(chosen)
        with _written(folder) as write:
            for split, examples in chosen.items():
                for example in examples:
                    write(split, _line(split, example))
        splits = _splits(folder)
    hashes = {split: stored_items(folder / split, _hash) for split in SPLITS}
    dataset = described(data, left_out, splits, fingerprint_by(hashes), repeated, faults, spec)
    (folder / _RECORD).write_bytes(_DATASET.dump_json(replace(dataset, splits={})))
