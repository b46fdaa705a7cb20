"""The data set of large files: its examples stay on the disk, in a folder that is made once.

Examples are put in the order of their keys without holding them. Rows are divided by the first byte
of their key, which is a hash: each part is small enough to be sorted in memory, and one part after
the other gives all rows in order. An example is one line, its key, content hash, split and line
number in front of its content.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from heapq import nsmallest
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from sweeper.cache import home, made_while_used
from sweeper.data import checks
from sweeper.data.contents import Opened, many_rows, part_of
from sweeper.data.examples import SPLITS, Dataset, Example, Message, Split, digest
from sweeper.data.faults import DataFault
from sweeper.data.further_rows import marking_columns
from sweeper.data.labels import SeenLabels, label_changes, with_label
from sweeper.data.load import (
    dataset_of_rows,
    described,
    fingerprint_by,
    shares_taken,
    take_examples,
)
from sweeper.data.reading.files import split_files
from sweeper.data.reading.spool import items_of
from sweeper.data.rows import DataRows, read_rows
from sweeper.data.splits import Repeated, class_of, class_sizes, repeated_in, subset
from sweeper.data.table import Stored
from sweeper.jsontext import value_of
from sweeper.progress import told
from sweeper.spec import DataSpec, Task

_PARTS = 256
"""At most 256: 40 MB of rows each in a file of 10 GB."""

_BUFFER = 2**16
"""Bytes of each file that are written together."""

_KEY = 32
"""Characters of a key and of a content hash."""


class StoredRow:
    """The line of one example; what is in front of its content is read without parsing it."""

    __slots__ = ("line",)

    def __init__(self, line: bytes) -> None:
        self.line = line

    @classmethod
    def of(cls, split: Split, example: Example) -> StoredRow:
        values = [getattr(example, name) for name in _FIELDS]
        values[_TURNS] = [(turn.role, turn.content, turn.more) for turn in example.messages]
        head = f"{example.key}{example.content_hash()}{SPLITS.index(split)}{example.line:012}"
        return cls(f"{head}{_ENCODER.encode(values)}\n".encode())

    @property
    def key(self) -> str:
        return self.line[:_KEY].decode()

    @property
    def content_hash(self) -> bytes:
        return self.line[_KEY : 2 * _KEY]

    @property
    def split(self) -> Split:
        return SPLITS[self.line[2 * _KEY] - ord("0")]

    def example(self) -> Example:
        values: list[Any] = value_of(self.line[2 * _KEY + 13 :].decode())
        values[_TURNS] = [Message(*turn) for turn in values[_TURNS]]
        as_tuples: Any = (tuple(one) if isinstance(one, list) else one for one in values)
        return Example(*as_tuples)


_FIELDS = tuple(one.name for one in fields(Example))
_TURNS = _FIELDS.index("messages")
_ENCODER = json.JSONEncoder(check_circular=False)


class Sorter(ExitStack):
    """Rows in the order of their keys, in files that are removed when the work is done."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir()
        self._folder = folder
        self._added = 0
        self.callback(shutil.rmtree, folder)
        self._files = [
            self.enter_context((folder / f"{part:02x}").open("wb", _BUFFER))
            for part in range(_PARTS)
        ]

    def add(self, split: Split, example: Example) -> None:
        self._added += 1
        self._files[int(example.key[:2], 16) * _PARTS // 256].write(
            StoredRow.of(split, example).line
        )

    def __len__(self) -> int:
        return self._added

    def sort(self, change: Callable[[Split, Example], Example | None] | None = None) -> None:
        """End adding; ``change`` gives what becomes of an example, None where it is left out."""
        for written in self._files:
            written.close()
        if change is None:
            return
        for part in told(range(_PARTS), "reconciling labels", _PARTS):
            rows = ((row.split, row.example()) for row in map(StoredRow, self._lines(part)))
            changed = [(split, change(split, example)) for split, example in rows]
            lines = [StoredRow.of(split, new).line for split, new in changed if new]
            self._path(part).write_bytes(b"".join(lines))

    def groups(self) -> Iterator[list[StoredRow]]:
        """The rows of each input, in order."""
        for part in range(_PARTS):
            group: list[StoredRow] = []
            key = b""
            for line in sorted(self._lines(part)):
                if not line.startswith(key) and group:
                    yield group
                    group = []
                if not group:
                    key = line[:_KEY]
                group.append(StoredRow(line))
            if group:
                yield group

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:02x}"

    def _lines(self, part: int) -> list[bytes]:
        with self._path(part).open("rb") as file:
            return list(file)


class SplitWriter(ExitStack):
    """Writes the rows of the splits, each into a file of its own, with the places of the rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = {}
        for split in SPLITS:
            file = self.enter_context((folder / f"{split}.rows").open("wb", _BUFFER))
            starts = array("Q", [0])
            self.callback((folder / f"{split}.places").write_bytes, starts)
            self._files[split] = file, starts

    def add(self, split: Split, row: StoredRow) -> None:
        """Write a row behind those of its split."""
        file, starts = self._files[split]
        starts.append(starts[-1] + file.write(row.line))


def stored_rows(folder: Path, split: Split) -> Stored[StoredRow]:
    """The rows of a split, each read when it is asked for."""
    opened = Opened(os.open(folder / f"{split}.rows", os.O_RDONLY | os.O_CLOEXEC))
    with (folder / f"{split}.places").open("rb") as file:
        starts = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("Q")
    return items_of(opened, starts, lambda line: StoredRow(bytes(line)))


def stored_examples(folder: Path, split: Split) -> Stored[Example]:
    """The examples of a split, each read when it is asked for."""
    rows = stored_rows(folder, split)

    def stream() -> Iterator[Example]:
        passed = told(rows, f"going through the rows of {split}", len(rows))
        return (row.example() for row in passed)

    return Stored(len(rows), lambda place: rows[place].example(), stream)


Place = Callable[[StoredRow], Split]
"""Gives the split of a row."""


def places(
    sorter: Sorter, shares: Callable[[int], Mapping[Split, float]], seed: int, classes: bool
) -> Place:
    """Where ``carve`` puts each row, by hashes of eight bytes.

    Args:
        shares: Gives the share of each split that is taken out of so many rows of train.
        classes: Rows have labels, and each class is divided by itself.
    """

    def placed(row: StoredRow) -> int:
        return int(digest(f"{seed}:{row.key}")[:16], 16)

    hashes: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    labels: dict[str, str] = {}
    rows = 0
    for group in told(sorter.groups(), "dividing into splits", len(sorter)):
        members = [row for row in group if row.split == "train"]
        if not members:
            continue
        rows += len(members)
        name = class_of(row.example().label for row in members) if classes else ""
        hashes[name].append(placed(members[0]))
        if classes and len(members) > 1:
            labels[members[0].key] = name
    taken = shares(rows)
    limits: dict[str, list[tuple[int, Split]]] = {}
    for name, found in hashes.items():
        sizes = class_sizes(len(found), taken)
        ends = list(accumulate(sizes[split] for split in taken))
        smallest = nsmallest(ends[-1] if ends else 0, found)
        limits[name] = [
            (smallest[end - 1], split)
            for end, split in zip(ends, taken, strict=True)
            if sizes[split]
        ]

    def place(row: StoredRow) -> Split:
        if row.split != "train":
            return row.split
        name = labels.get(row.key) or row.example().label or "" if classes else ""
        mine = placed(row)
        return next((split for limit, split in limits[name] if mine <= limit), "train")

    return place


def write_splits(sorter: Sorter, folder: Path, place: Place) -> Repeated:
    """Write every row into its split."""
    found = Repeated()
    with SplitWriter(folder) as writer:
        for group in told(sorter.groups(), "writing splits", len(sorter)):
            splits = [place(row) for row in group]
            for split, row in zip(splits, group, strict=True):
                writer.add(split, row)
            hashes, answers = (r.content_hash for r in group), (r.example().answer for r in group)
            found.add(splits, hashes, answers)
    return found


_RECORD = "dataset.json"


def load_any(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, as ``load`` makes it; that of a large file stays on the disk.

    Rows are read into memory where near duplicates, groups or times divide them, and where some
    are marked as no originals.

    Raises:
        DataError: The data cannot be read, recognised or learnt from.
    """
    source = split_files(spec)
    paths = [path for paths in source.files.values() for path in paths]
    read_as = f"{version('finetune-sweeper')} {task} {spec.model_dump_json()}"
    folder = home() / "datasets" / _state_of(paths, read_as)
    if not folder.is_dir():
        data = read_rows(spec, task, source)
        marked = marking_columns() & set(data.columns)
        if not isinstance(data.rows, Stored) or spec.split_by != "stratified" or marked:
            return dataset_of_rows(data, spec)
        made_while_used(folder, lambda folder: _store(folder, data, spec))
    record = value_of((folder / _RECORD).read_text(encoding="utf-8"))
    os.utime(folder)
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items()}
    faults = tuple(DataFault(**one) for one in record["faults"])
    return Dataset(**values | {"splits": _splits(folder), "faults": faults})


def _state_of(paths: Sequence[Path], read_as: str) -> str:
    """A name for files as they are now: another one when their path, size or time changes."""
    files = [part_of(path)[0] for path in paths]
    found = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((found, read_as)).encode(), digest_size=16).hexdigest()


def _splits(folder: Path) -> dict[Split, Sequence[Example]]:
    return {split: stored_examples(folder, split) for split in SPLITS}


@many_rows()
def _store(folder: Path, data: DataRows, spec: DataSpec) -> None:
    """Write the splits of a data set and all that is known of it."""
    name = str(spec.path)
    classes = data.task == "classification"
    seen = {split: SeenLabels() for split in data.official}
    change: Callable[[Split, Example], Example | None] | None = None
    faults: tuple[DataFault, ...] = ()
    with Sorter(folder / "sorting") as sorter:

        def take(split: Split, example: Example) -> None:
            seen[split].add(example)
            sorter.add(split, example)

        left_out = take_examples(data, spec, take)
        if classes and len(sorter):
            changes, faults = label_changes(seen, spec)
            change = partial(with_label, changes) if changes else None
        sorter.sort(change)
        shares_of = partial(shares_taken, set(data.official), spec=spec, name=name)
        place = places(sorter, shares_of, spec.split_seed, classes)
        repeated = write_splits(sorter, folder, place)
    splits = _splits(folder)
    if not all(splits.values()):
        checks.check_sizes({split: list(rows) for split, rows in splits.items()}, name)
    if classes:
        checks.check_seen(splits, name)
    if spec.max_rows is not None:
        chosen = subset(splits, max(spec.max_rows, len(SPLITS)))
        checks.check_subset(chosen, splits, spec.max_rows)
        checks.check_seen(chosen, name)
        repeated = repeated_in(chosen)
        with SplitWriter(folder) as writer:
            for split, rows in chosen.items():
                for example in rows:
                    writer.add(split, StoredRow.of(split, example))
        splits = _splits(folder)
    fingerprint = fingerprint_by(
        {
            split: (row.content_hash.decode() for row in stored_rows(folder, split))
            for split in SPLITS
        }
    )
    dataset = described(data, left_out, splits, fingerprint, repeated, faults, spec)
    record = {one.name: getattr(dataset, one.name) for one in fields(dataset)}
    text = json.dumps({**record, "splits": {}, "faults": [f.model_dump() for f in dataset.faults]})
    (folder / _RECORD).write_text(text, encoding="utf-8")
