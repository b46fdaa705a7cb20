"""Loads the data set of a spec: splits the examples of its rows, and checks them.

The examples of large files stay on the disk, in a folder that is made once and used again. To sort
them by key, they are divided into files by the first byte of the key (a hash), and each file is
sorted in memory. An example is one line: its key, content hash, split, line number and content.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from pydantic import TypeAdapter

from sweeper.cache import home, made_and_touched
from sweeper.data import checks
from sweeper.data.contents import file_and_key, is_garbled, limited_by_memory
from sweeper.data.examples import SPLITS, DataFault, Dataset, Example, Split
from sweeper.data.formats.row_format import text_of
from sweeper.data.further_rows import provenance_columns
from sweeper.data.labels import (
    LabelChanges,
    SeenLabels,
    label_changes,
    reconcile_labels,
    with_label,
)
from sweeper.data.problems import listing
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.files import split_files
from sweeper.data.reading.layout import SplitFiles
from sweeper.data.rows import DataRows, FileRow, read_rows
from sweeper.data.splits import (
    Repeated,
    assign_splits,
    class_of,
    in_order,
    placement,
    repeated_in,
    requested_fractions,
    shares,
    subset,
    take_splits,
    widest_gap,
)
from sweeper.data.table import WRITE_BUFFER_BYTES, LazySequence, item_writer, stored_items
from sweeper.errors import DataError, near_match
from sweeper.spec import DataSpec, Task
from sweeper.units import plural

Take = Callable[[Split, Example], None]
"""A function that takes each example with the split of its file."""

Splits = dict[Split, Sequence[Example]]
Choose = Callable[[Splits], Splits]
"""A function that leaves out rows of the splits."""


def load(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, in three splits. The examples of large files stay on the disk.

    They are all read into memory, though, if ``data.split_by`` is not ``stratified``, or if a
    column marks rows as made from others.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. All problems of a stage are
            listed, with file and line.
    """
    source = split_files(spec)
    paths = [path for paths in source.files.values() for path in paths]
    settings = f"{version('finetune-sweeper')} {task} {spec.model_dump_json()}"
    folder = home() / "examples" / _folder_name(paths, settings)
    if not folder.is_dir():
        data = read_rows(spec, task, source)
        mark_columns = provenance_columns() & set(data.columns)
        if not isinstance(data.rows, LazySequence) or spec.split_by != "stratified" or mark_columns:
            return dataset_of_rows(data, spec)
        made_and_touched(folder, lambda folder: _write_dataset(folder, data, spec))
    dataset = _DATASET.validate_json((folder / _RECORD_FILE).read_bytes())
    os.utime(folder)
    return replace(dataset, splits=_stored_splits(folder))


def _folder_name(paths: Sequence[Path], settings: str) -> str:
    """A hash of these settings, and of each file's path, size and time of modification."""
    files = [file_and_key(path)[0] for path in paths]
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr((state, settings)).encode(), digest_size=16).hexdigest()


def all_rows(splits: Splits) -> Splits:
    """The splits as they are."""
    return splits


def dataset_of_rows(data: DataRows, spec: DataSpec, choose: Choose = all_rows) -> Dataset:
    """The data set of these rows, in three splits.

    Official splits are kept as they are; missing ones are carved out of train.

    Raises:
        DataError: Nothing can be learnt from the rows.
    """
    result = split_rows(data, spec)
    all_splits = {split: in_order(rows) for split, rows in result.splits.items()}
    splits = chosen_rows(all_splits, spec, choose)
    dataset = _make_dataset(
        data,
        result.left_out,
        splits,
        fingerprint_of(splits),
        repeated_in(splits),
        result.label_faults,
        spec,
    )
    return replace(dataset, further_rows=result.further)


def chosen_rows(
    all_splits: Mapping[Split, Sequence[Example]], spec: DataSpec, choose: Choose = all_rows
) -> Splits:
    """The rows of each split that ``max_rows`` and ``choose`` leave.

    Raises:
        DataError: Train lacks a class of another split, or one that it had before.
    """
    splits: Splits = dict(all_splits)
    if spec.max_rows is not None:
        splits = {**subset(all_splits, max(spec.max_rows, len(SPLITS)))}
        checks.check_subset(splits, all_splits, spec.max_rows)
    splits = choose(splits)
    checks.check_classes_of_train(splits, str(spec.named))
    return splits


@dataclass(frozen=True)
class SplitRows:
    """The examples of each split, and what became of the other rows.

    Args:
        further: Rows of train that are marked as made from others.
        label_faults: Faults about labels that were changed and rows that were left out for them.
    """

    splits: Mapping[Split, list[Example]]
    further: tuple[Example, ...]
    left_out: LeftOut
    label_faults: tuple[DataFault, ...]


def split_rows(data: DataRows, spec: DataSpec) -> SplitRows:
    """The examples in official splits, and in missing ones that are carved out of train.

    Raises:
        DataError: Nothing can be learnt from the rows, or a split would be empty.
    """
    examples: dict[Split, list[Example]] = {split: [] for split in data.official}
    left_out = _take_examples(data, spec, lambda split, example: examples[split].append(example))
    # Marked rows of validation and test are left out: nothing may be scored on them.
    official = {split: [e for e in rows if not e.source] for split, rows in examples.items()}
    further = tuple(e for e in examples["train"] if e.source)
    faults: tuple[DataFault, ...] = ()
    if data.task == "classification" and any(official.values()):
        official, faults = reconcile_labels(official, spec)
    splits = _all_splits(official, spec, data.name)
    if data.task == "classification" and spec.split_by != "stratified":
        splits, new_faults = reconcile_labels(splits, spec)
        faults += new_faults
    return SplitRows(splits, further, left_out, faults)


def load_corpus(
    path: str, spec: DataSpec, task: Task = "domain", revision: str | None = None
) -> tuple[Example, ...]:
    """All rows of the training files of a path, in the order of ``in_order``, without a split.

    They are a corpus, rows for replay, or further rows.

    Raises:
        DataError: The files cannot be read or recognised.
    """
    corpus_spec = DataSpec(path=path, revision=revision, split_seed=spec.split_seed)
    train = SplitFiles({"train": split_files(corpus_spec).files["train"]})
    examples: list[Example] = []
    data = read_rows(corpus_spec, task, train)
    _take_examples(data, corpus_spec, lambda _, example: examples.append(example))
    return in_order(examples)


@dataclass
class LeftOut:
    """The rows without an example, and the number of examples with lost or garbled characters.

    Args:
        groups: The rows by split, reason and kind.
    """

    groups: dict[tuple[Split, str, str], checks.LeftOutRows] = field(default_factory=dict)
    garbled: int = 0

    def add(self, row: FileRow) -> None:
        kind: checks.LeftOutKind = "form" if row.readable else "unreadable"
        reason = row.reason
        if row.empty:
            kind, reason = "empty", checks.EMPTY
        group = checks.LeftOutRows(row.split, reason, kind, row.path)
        self.groups.setdefault((row.split, reason, kind), group).lines.append(row.line)

    @property
    def counts(self) -> Counter[str]:
        """The number of rows by kind of fault."""
        counts = Counter(garbled=self.garbled)
        for group in self.groups.values():
            counts[group.kind] += len(group.lines)
        return counts


def _take_examples(data: DataRows, spec: DataSpec, take: Take) -> LeftOut:
    """Pass every example to ``take``, and return the rows that are left out.

    Raises:
        DataError: Most rows of a split have no example, or the column to split by is missing.
    """
    column = split_column(spec, data.columns)
    left_out = LeftOut()
    rows_by_split: Counter[Split] = Counter()
    rows_with_progress = with_progress(
        data.rows, f"reading examples of {data.name}", len(data.rows)
    )
    for row in limited_by_memory(rows_with_progress, data.name):
        rows_by_split[row.split] += 1
        if (example := row.example) is None:
            left_out.add(row)
            continue
        left_out.garbled += is_garbled(example.text) or any(
            is_garbled(message.content) for message in example.messages
        )
        if column:
            example = replace(example, group=text_of(row.fields.get(column)))
        take(row.split, example)
    for split in data.official:
        groups = [
            group
            for group in left_out.groups.values()
            if group.split == split and group.kind != "empty"
        ]
        if (count := sum(len(group.lines) for group in groups)) <= rows_by_split[split] / 2:
            continue
        reasons = [
            f"{group.reason} ({plural(len(group.lines), 'row')}, first line {group.lines[0]})"
            for group in sorted(groups, key=lambda group: -len(group.lines))
        ]
        raise DataError(
            f"{count} of {rows_by_split[split]} rows do not have the format that was recognised",
            why=listing(reasons, 4),
            fix="Repair these rows. Rows with faults are left out only if most rows have none.",
            where=groups[0].path,
            code="mixed-forms",
        )
    return left_out


def _all_splits(
    official: Mapping[Split, list[Example]], spec: DataSpec, name: str
) -> dict[Split, list[Example]]:
    """Official splits, and the missing ones carved out of train."""
    missing = _missing_shares(official.keys(), spec, name)
    if spec.split_by != "stratified" and missing:
        assigned = assign_splits(official["train"], spec, missing)
        parts: dict[Split, list[Example]] = {split: [] for split in ("train", *missing)}
        for example, split in zip(official["train"], assigned, strict=True):
            parts[split].append(example)
        parts |= {split: official[split] for split in official if split != "train"}
        checks.check_sizes(parts, name)
        return parts
    taken_shares = _shares_taken(missing, len(official["train"]), spec)
    stratified = {**official, **take_splits(official["train"], taken_shares, spec.split_seed)}
    splits = {split: stratified[split] for split in SPLITS if split in stratified}
    checks.check_sizes(splits, name)
    return splits


def _shares_taken(missing: Mapping[Split, float], rows: int, spec: DataSpec) -> dict[Split, float]:
    """The share of the ``rows`` of train that each missing split takes."""
    return shares(min(rows, spec.max_rows or rows), missing, spec.max_held_out_rows)


def _missing_shares(official: Set[Split], spec: DataSpec, name: str) -> dict[Split, float]:
    """The requested share of each split that the data set lacks.

    Raises:
        DataError: They leave nothing to train on.
    """
    shares = {split: share for split, share in requested_fractions(spec).items() if share}
    missing = {split: share for split, share in shares.items() if split not in official}
    if sum(missing.values()) >= 1:
        raise DataError(
            f"validation and test would take {sum(missing.values()):.0%} of the rows",
            why="Nothing would be left to train on.",
            fix="Lower data.validation_fraction and data.test_fraction.",
            where=name,
        )
    return missing


def split_column(spec: DataSpec, columns: Sequence[str]) -> str | None:
    """The column that decides a row's split; None if ``data.split_by`` needs none.

    Raises:
        DataError: A column is needed but not named, is named but not needed, or does not exist.
    """
    needed = spec.split_by in ("group", "time")
    column = spec.split_column
    if (column in columns) if needed else (column is None):
        return column
    if not needed:
        what = f"the column {column!r} is named to split by, but not used"
        fix = "Set data.split_by to group or time, or leave data.split_column out."
    elif column:
        what, fix = f"there is no column {column!r} to split by", near_match(column, columns)
    else:
        what, fix = "no column to split by", "Name it: --split-column, or data.split_column."
    why = f"data.split_by is {spec.split_by}."
    raise DataError(what, why=why, fix=fix, where="data.split_column")


def _make_dataset(
    data: DataRows,
    left_out: LeftOut,
    splits: Mapping[Split, Sequence[Example]],
    fingerprint: str,
    repeated: Repeated,
    label_faults: tuple[DataFault, ...],
    spec: DataSpec,
) -> Dataset:
    """The data set of these splits, with evidence, faults and warnings."""
    labelled_rows = splits["train"] if data.form.format == "text-label" else ()
    missing = [split for split in SPLITS if split not in data.official]
    # Train is official only if nothing was taken from it.
    carved = {*missing, "train"} if missing else set()
    dataset = Dataset(
        path=data.name,
        format=data.form.format,
        evidence=(*data.evidence, *_split_evidence(splits, missing, spec)),
        columns=dict(data.form.columns),
        splits=dict(splits),
        origins={split: "hash" if split in carved else "official" for split in SPLITS},
        labels=tuple(sorted({row.label for row in labelled_rows if row.label})),
        fingerprint=fingerprint,
        counts=left_out.counts + repeated.counts,
    )
    faults = (*label_faults, *checks.faults(dataset, left_out.groups.values(), repeated, spec))
    warnings = (*data.cautions, *(fault.sentence for fault in faults), *checks.warnings(dataset))
    return replace(dataset, faults=faults, warnings=warnings)


def _split_evidence(
    splits: Mapping[Split, Sequence[Example]], missing: Sequence[Split], spec: DataSpec
) -> Iterator[str]:
    """Sentences on how missing splits were made and, if not stratified, how class shares differ."""
    method = {
        "stratified": "the hash of the input",
        "hash": "the hash of each group of near duplicates alone",
        "group": f"the hash of `{spec.split_column}`",
        "time": f"the time in `{spec.split_column}`, the last rows being the test",
    }[spec.split_by]
    if missing:
        yield f"{' and '.join(missing)} taken out of train by {method}"
    labels = {split: [row.label for row in rows] for split, rows in splits.items()}
    if spec.split_by != "stratified" and any(labels["train"]):
        gap, label, split = widest_gap(labels)
        yield f"class shares differ by up to {gap:.1%} ({label!r} in {split}); they are not forced"


def fingerprint_of(splits: Mapping[Split, Sequence[Example]]) -> str:
    """SHA-256 over the content of all rows in split order."""
    return _fingerprint_of_hashes(
        {s: (e.content_hash() for e in rows) for s, rows in splits.items()}
    )


def _fingerprint_of_hashes(hashes: Mapping[Split, Iterable[str]]) -> str:
    """The fingerprint of splits whose rows have these content hashes."""
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for content_hash in hashes[split]:
            sha.update(f"{content_hash}\n".encode())
    return sha.hexdigest()


_SORTED_FILES = 256
"""Number of files into which rows are divided, at most 256: 40 MB each for 10 GB."""

_KEY_CHARACTERS = 32
"""Length of a key, and of a content hash."""

_HEAD_CHARACTERS = 2 * _KEY_CHARACTERS + 13
"""Length of key, content hash, index of the split (one digit) and line number (twelve)."""

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
        has_classes: Whether rows have labels, so that each class is split by itself.
    """

    def __init__(self, folder: Path, has_classes: bool) -> None:
        folder.mkdir()
        self._has_classes = has_classes
        self._paths = [folder / f"{part:02x}" for part in range(_SORTED_FILES)]
        self._files = [path.open("wb", WRITE_BUFFER_BYTES) for path in self._paths]
        self.changes: LabelChanges = {}

    def add(self, split: Split, example: Example) -> None:
        self._files[int(example.key[:2], 16) * _SORTED_FILES // 256].write(_line_of(split, example))

    def close(self) -> None:
        """Close the files; nothing can be added any more."""
        for file in self._files:
            file.close()

    def groups(self, work: str) -> Iterator[tuple[str, str, list[bytes]]]:
        """Key, class in train (or empty) and lines of each input, in key order.

        Args:
            work: What the caller does with them, for lines of progress.
        """
        for path in with_progress(self._paths, work, len(self._paths)):
            lines = path.read_bytes().splitlines(keepends=True)
            if self.changes:
                lines = [new for line in lines if (new := self._with_new_label(line))]
            for key, group in groupby(sorted(lines), key=lambda line: line[:_KEY_CHARACTERS]):
                same_key = list(group)
                train_lines = [line for line in same_key if _split_of(line) == "train"]
                labels = [_example_of(line).label for line in train_lines if self._has_classes]
                yield key.decode(), class_of(labels) if labels else "", same_key

    def _with_new_label(self, line: bytes) -> bytes | None:
        """The line with the example's new label; None if the example is left out."""
        changed_example = with_label(self.changes, _split_of(line), _example_of(line))
        return _line_of(_split_of(line), changed_example) if changed_example else None


@contextmanager
def _split_writer(folder: Path) -> Iterator[Callable[[Split, bytes], None]]:
    """A function that appends the line of an example to the file of its split."""
    with ExitStack() as opened:
        files = {split: opened.enter_context(item_writer(folder / split)) for split in SPLITS}
        yield lambda split, line: files[split](line)


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
    has_classes = data.task == "classification"
    with closing(_SortedRows(folder / "sorting", has_classes)) as rows:

        def take(split: Split, example: Example) -> None:
            seen_labels[split].add(example)
            rows.add(split, example)

        left_out = _take_examples(data, spec, take)
    faults: tuple[DataFault, ...] = ()
    if has_classes and any(labels.rows for labels in seen_labels.values()):
        rows.changes, faults = label_changes(seen_labels, spec)
    left_out_labels = {old for old, new_label in rows.changes.items() if new_label is None}
    train_rows = sum(
        count
        for label, count in seen_labels["train"].rows.items()
        if ("train", label) not in left_out_labels
    )
    missing = _missing_shares(set(data.official), spec, name)
    shares = _shares_taken(missing, train_rows, spec)
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
    checks.check_sizes(splits, name)
    if has_classes:
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
    dataset = _make_dataset(
        data, left_out, splits, _fingerprint_of_hashes(hashes), repeated, faults, spec
    )
    (folder / _RECORD_FILE).write_bytes(_DATASET.dump_json(replace(dataset, splits={})))
