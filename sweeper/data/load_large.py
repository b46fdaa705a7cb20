"""The data set of large files: its examples stay on the disk, in a folder that is made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeper.cache import home, made_while_used
from sweeper.data import checks
from sweeper.data.contents import many_rows, part_of
from sweeper.data.examples import SPLITS, Dataset, Example, Split
from sweeper.data.faults import DataFault
from sweeper.data.labels import SeenLabels, label_changes, with_label
from sweeper.data.load import (
    described,
    fingerprint_by,
    load,
    shares_taken,
    take_examples,
    with_path,
)
from sweeper.data.marks import MADE_FROM, METHOD
from sweeper.data.reading.files import SplitFiles, split_files
from sweeper.data.reading.read import read
from sweeper.data.reading.spool import is_large
from sweeper.data.rows import read_rows
from sweeper.data.splits import repeated_in, subset
from sweeper.data.stored import (
    Sorter,
    SplitWriter,
    StoredRow,
    places,
    stored_examples,
    stored_hashes,
    write_splits,
)
from sweeper.jsontext import value_of
from sweeper.spec import DataSpec, Task

_RECORD = "dataset.json"


class _HasMarks(Exception):
    """A file has columns that mark augmented rows, which are told apart in memory."""


def load_any(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, as ``load`` makes it; that of a large file stays on the disk.

    Rows are read into memory where near duplicates, groups or times divide them, and where some
    are marked as augmented.

    Raises:
        DataError: The data cannot be read, recognised or learnt from.
    """
    named = with_path(spec, task)
    source = split_files(named)
    paths = [path for paths in source.files.values() for path in paths]
    if named.split_by != "stratified" or not any(map(is_large, paths)):
        return load(spec, task)
    read_as = f"{version('finetune-sweeper')} {task} {named.model_dump_json()}"
    try:
        folder = made_while_used(
            home() / "datasets" / _state_of(paths, read_as),
            lambda folder: _store(folder, source, task, named),
        )
    except _HasMarks:
        return load(spec, task)
    record = value_of((folder / _RECORD).read_text(encoding="utf-8"))
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
def _store(folder: Path, source: SplitFiles, task: Task, spec: DataSpec) -> None:
    """Write the splits of a data set and all that is known of it."""
    name = str(spec.path)
    classes = task == "classification"
    data = read_rows(spec, task, partial(read, stored=True), source)
    if {MADE_FROM, METHOD} & set(data.columns):
        raise _HasMarks
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
            writer.end()
        splits = _splits(folder)
    fingerprint = fingerprint_by({split: stored_hashes(folder, split) for split in SPLITS})
    dataset = described(data, left_out, splits, fingerprint, repeated, faults, spec)
    record = {one.name: getattr(dataset, one.name) for one in fields(dataset)}
    text = json.dumps({**record, "splits": {}, "faults": [f.model_dump() for f in dataset.faults]})
    (folder / _RECORD).write_text(text, encoding="utf-8")
