"""A data set from what the user named: files, form, examples, splits, checks, in this order."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from functools import partial, reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeper.cache import home, made_while_used
from sweeper.data import checks
from sweeper.data.detect import Form, detect
from sweeper.data.encoding import is_garbled
from sweeper.data.examples import SPLITS, Dataset, Example, Origin, Split
from sweeper.data.formats.base import EmptyRow, RawRow, Unusable, formats
from sweeper.data.labels import SeenLabels, label_changes, reconciled, with_label
from sweeper.data.problems import listing
from sweeper.data.reading.files import split_files
from sweeper.data.reading.large import is_large, state_of
from sweeper.data.reading.read import read
from sweeper.data.splits import carve, in_order, shares, subset
from sweeper.data.stored import (
    Repeated,
    Sorter,
    SplitWriter,
    StoredRow,
    places,
    stored_examples,
    stored_hashes,
    write_splits,
)
from sweeper.data.table import Fields, RowTable
from sweeper.data.template import with_templates
from sweeper.errors import DataError
from sweeper.jsontext import value_of
from sweeper.progress import told
from sweeper.spec import DataSpec, Task

LabelNames = Mapping[str, tuple[str, ...]]
"""Column to the names of its integer classes."""


Files = Mapping[Split, tuple[Path, ...]]
Take = Callable[[Split, Example], None]


@dataclass(frozen=True)
class _Part:
    """What one official split, or the whole data set, holds."""

    form: Form
    examples: Examples
    how: tuple[str, ...]
    cautions: tuple[str, ...]


def load(spec: DataSpec, task: Task) -> Dataset:
    """The data set of a spec, in three splits.

    Official splits are kept as they are; those that are missing are carved out of train.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. All problems of a stage are
            listed, with file and line.
    """
    if spec.path is None and spec.corpus is not None and task == "domain":
        spec = spec.model_copy(update={"path": spec.corpus, "columns": {}, "format": "auto"})
    files = split_files(spec)
    if any(is_large(path) for paths in files.values() for path in paths):
        return _load_large(files, task, spec)
    name = str(spec.path)
    parts = _parts(files, task, spec)
    official = {split: part.examples.kept for split, part in parts.items()}
    label_cautions: tuple[str, ...] = ()
    if task == "classification" and any(official.values()):
        checks.check_labels(official, name)
        official, label_cautions = reconciled(official, name)
    whole = {split: in_order(rows) for split, rows in _all_splits(official, spec, name).items()}
    checks.check_seen(whole, name)
    splits = whole
    if spec.max_rows is not None:
        splits = subset(whole, max(spec.max_rows, len(SPLITS)))
        checks.check_subset(splits, whole, spec.max_rows)
    hashes = _hashes(splits)
    return _dataset(name, parts, splits, files, hashes, _repeated(splits), label_cautions)


def _hashes(splits: Mapping[Split, Iterable[Example]]) -> dict[Split, Iterable[str]]:
    return {split: (one.content_hash() for one in rows) for split, rows in splits.items()}


def _repeated(splits: Mapping[Split, Sequence[Example]]) -> Repeated:
    return Repeated(checks.duplicates(splits), checks.leaked(splits), checks.conflicting(splits))


def load_corpus(path: str, spec: DataSpec) -> tuple[Example, ...]:
    """The plain text of a corpus, or any data set's rows for replay, in key order.

    Raises:
        DataError: It cannot be read or recognised.
    """
    named = DataSpec(path=path, split_seed=spec.split_seed)
    parts = _parts({"train": split_files(named)["train"]}, "domain", named)
    return in_order(parts["train"].examples.kept)


def _parts(
    files: Files, task: Task, spec: DataSpec, take: Take | None = None
) -> dict[Split, _Part]:
    """The official splits; ``take`` is given their examples in place of a list, if it is there."""
    tables = {
        split: with_templates(
            reduce(RowTable.joined, (read(path, stored=take is not None) for path in paths)),
            spec.columns,
        )
        for split, paths in files.items()
    }
    form = detect(tables["train"], task, spec)
    parts: dict[Split, _Part] = {}
    for split, table in tables.items():
        own = form if split == "train" else form_of(table, form, task, spec)
        found = examples(table, own, partial(take, split) if take else None)
        parts[split] = _Part(own, found, table.how, _cautions(table, own, split))
    return parts


def form_of(table: RowTable, form: Form, task: Task, spec: DataSpec) -> Form:
    """The form of train where the columns are there, else the table's own.

    A column may be there in the plural: several accepted answers where train has one.
    """
    present = table.columns
    plural = {role: f"{column}s" for role, column in form.columns.items()}
    columns = {
        role: plural[role] if column not in present and plural[role] in present else column
        for role, column in form.columns.items()
    }
    if set(columns.values()) <= set(present):
        return replace(form, columns=columns)
    found = detect(table, task, spec.model_copy(update={"columns": {}}))
    if found.format != form.format and "text-label" in (found.format, form.format):
        raise DataError(
            f"this split has the form {found.format}, but train has {form.format}",
            fix="Give all splits the same columns.",
            where=table.name,
        )
    return found


def _all_splits(
    official: Mapping[Split, list[Example]], spec: DataSpec, name: str
) -> dict[Split, list[Example]]:
    """Official splits, and the missing ones carved out of train."""
    taken = _shares(official.keys(), len(official["train"]), spec, name)
    parts = {**official, **carve(official["train"], taken, spec.split_seed)}
    splits = {split: parts[split] for split in SPLITS}
    checks.check_sizes(splits, name)
    return splits


def _shares(official: Set[Split], rows: int, spec: DataSpec, name: str) -> dict[Split, float]:
    """The share of train's rows that each missing split takes."""
    wanted: dict[Split, float] = {
        "validation": spec.validation_fraction,
        "test": spec.test_fraction,
    }
    missing = {split: share for split, share in wanted.items() if split not in official}
    if sum(missing.values()) >= 1:
        raise DataError(
            f"validation and test would take {sum(missing.values()):.0%} of the rows",
            why="Nothing would be left to train on.",
            fix="Lower data.validation_fraction and data.test_fraction.",
            where=name,
        )
    return shares(min(rows, spec.max_rows or rows), missing, spec.max_held_out_rows)


def _dataset(
    name: str,
    parts: Mapping[Split, _Part],
    splits: Mapping[Split, Sequence[Example]],
    files: Files,
    hashes: Mapping[Split, Iterable[str]],
    repeated: Repeated,
    label_cautions: tuple[str, ...],
) -> Dataset:
    form = parts["train"].form
    labelled = splits["train"] if form.format == "text-label" else ()
    dataset = Dataset(
        path=name,
        format=form.format,
        evidence=_evidence(parts, files),
        columns={str(role): column for role, column in form.columns.items()},
        splits=dict(splits),
        origins=_origins(files),
        labels=tuple(sorted({e.label for e in labelled if e.label})),
        fingerprint=_fingerprint(hashes),
        duplicates=repeated.duplicates,
        empties=sum(len(part.examples.empty) for part in parts.values()),
        skipped=sum(len(n) for part in parts.values() for n in part.examples.skipped.values()),
        leaked=repeated.leaked,
        conflicting=repeated.conflicting,
        encoding_problems=sum(part.examples.garbled for part in parts.values()),
    )
    skipped = {split: part.examples.left_out for split, part in parts.items()}
    cautions = dict.fromkeys(said for part in parts.values() for said in part.cautions)
    said = (*cautions, *label_cautions, *checks.warnings(dataset, skipped))
    return replace(dataset, warnings=said)


def _origins(files: Files) -> dict[Split, Origin]:
    """Train is official only where nothing was carved out of it."""
    whole = set(files) == set(SPLITS)
    return {
        split: "official" if split in files and (whole or split != "train") else "hash"
        for split in SPLITS
    }


def _evidence(parts: Mapping[Split, _Part], files: Files) -> tuple[str, ...]:
    """How files were read, why the form was recognised, and where splits came from."""
    said: list[str] = []
    for split, part in parts.items():
        said += [*part.how, *part.form.evidence]
        if part.form.columns != parts["train"].form.columns:
            renamed = listing([f"`{column}`" for column in part.form.columns.values()])
            said.append(f"{split} has other columns: {renamed}")
    official = [path.name for paths in files.values() for path in paths]
    if len(files) > 1:
        said.append(f"official splits: {listing(official)}")
    if missing := [split for split in SPLITS if split not in files]:
        said.append(f"{' and '.join(missing)} taken out of train by the hash of the input")
    return tuple(dict.fromkeys(said))


def _fingerprint(hashes: Mapping[Split, Iterable[str]]) -> str:
    """SHA-256 over the hashes of all rows in split order."""
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for one in hashes[split]:
            sha.update(f"{one}\n".encode())
    return sha.hexdigest()


@dataclass(frozen=True)
class Examples:
    """The examples of one table, and the lines of rows that did not become one."""

    kept: list[Example]
    empty: list[int] = field(default_factory=list)
    skipped: Mapping[str, list[int]] = field(default_factory=dict)
    garbled: int = 0

    @property
    def left_out(self) -> dict[str, list[int]]:
        """Reason to lines of all rows that did not become an example."""
        empty = {checks.EMPTY: self.empty} if self.empty else {}
        return {**empty, **self.skipped}


def examples(
    table: RowTable, form: Form, take: Callable[[Example], None] | None = None
) -> Examples:
    """The examples of a table.

    Args:
        table: The rows.
        form: What their columns mean.
        take: Is given each example, in place of a list.

    Raises:
        DataError: Most rows do not have the form.
    """
    kept: list[Example] = []
    empty: list[int] = []
    skipped: dict[str, list[int]] = {}
    for line, reason in table.broken:
        skipped.setdefault(reason, []).append(line)
    take = take or kept.append
    garbled = 0
    for line, fields in told(table.rows, f"reading examples of {table.name}", len(table.rows)):
        try:
            example = _example(form.of(fields), line, fields, table.label_names)
            garbled += _is_garbled(example)
            take(example)
        except EmptyRow:
            empty.append(line)
        except Unusable as unusable:
            skipped.setdefault(str(unusable), []).append(line)
    _refuse_most_skipped(table, skipped)
    return Examples(kept, empty, skipped, max(garbled, len(table.garbled)))


def _example(form: Form, line: int, fields: Fields, label_names: LabelNames) -> Example:
    row_format = formats()[form.format]
    names = label_names.get(form.columns.get("label", ""), ())
    return row_format.example(RawRow(row_format, line, fields, form.columns, names, form.templated))


EMPTY_ROW = "it is empty"
"""Why there is no example of a row without input or answer."""


def example_or_reason(
    form: Form, line: int, fields: Fields, label_names: LabelNames
) -> Example | str:
    """The example of one row, or why there is none."""
    try:
        return _example(form, line, fields, label_names)
    except EmptyRow:
        return EMPTY_ROW
    except Unusable as reason:
        return str(reason)


def _is_garbled(example: Example) -> bool:
    return is_garbled(example.text) or any(is_garbled(m.content) for m in example.messages)


def _cautions(table: RowTable, form: Form, split: Split) -> tuple[str, ...]:
    """What a user should look at: how the file was read, rows of other forms, unused columns."""
    said = [*table.cautions]
    other: dict[str, list[str]] = {}
    for line, fields in table.rows if form.others else ():
        if (own := form.of(fields)) is not form:
            columns = ", ".join(f"`{column}`" for column in own.columns.values())
            other.setdefault(f"{own.format} ({columns})", []).append(str(line))
    for name, lines in other.items():
        where = listing(lines, 3)
        said.append(
            f"{len(lines):,} of {len(table.rows):,} rows of {split} have another format, {name}, "
            f"and are read as such (line {where})"
        )
    return (*said, *checks.unused_columns(table, form))


def _refuse_most_skipped(table: RowTable, skipped: Mapping[str, list[int]]) -> None:
    count = sum(map(len, skipped.values()))
    rows = len(table.rows) + len(table.broken)
    if count <= rows / 2:
        return
    reasons = Counter({reason: len(lines) for reason, lines in skipped.items()}).most_common()
    said = [f"{reason} ({rows} rows, first line {skipped[reason][0]})" for reason, rows in reasons]
    raise DataError(
        f"{count} of {rows} rows do not have the form that was recognised",
        why=listing(said, 4),
        fix="Repair these rows; where most rows are good, the others are left out and listed.",
        where=table.name,
    )


_RECORD = "dataset.json"


def _load_large(files: Files, task: Task, spec: DataSpec) -> Dataset:
    """The data set of large files: its examples stay on the disk, in a folder that is made once."""
    paths = [path for paths in files.values() for path in paths]
    read_as = f"{version('finetune-sweeper')} {task} {spec.model_dump_json()}"
    folder = made_while_used(
        home() / "datasets" / state_of(*paths, read_as=read_as),
        lambda folder: _store(folder, files, task, spec),
    )
    record = value_of((folder / _RECORD).read_text(encoding="utf-8"))
    fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items()}
    return Dataset(**fields | {"splits": {s: stored_examples(folder, s) for s in SPLITS}})


def _store(folder: Path, files: Files, task: Task, spec: DataSpec) -> None:
    """Write the splits of a data set and all that is known of it."""
    name = str(spec.path)
    classes = task == "classification"
    seen = {split: SeenLabels() for split in files}
    change: Callable[[Split, Example], Example | None] | None = None
    said: tuple[str, ...] = ()
    with Sorter(folder / "sorting") as sorter:

        def take(split: Split, example: Example) -> None:
            seen[split].add(example)
            sorter.add(split, example)

        parts = _parts(files, task, spec, take)
        if classes:
            checks.check_labels({split: one.elements() for split, one in seen.items()}, name)
            changes, said = label_changes(seen, name)
            change = partial(with_label, changes) if changes else None
        sorter.sort(change)
        shares_of = partial(_shares, set(files), spec=spec, name=name)
        place = places(sorter, shares_of, spec.split_seed, classes)
        repeated = write_splits(sorter, folder, place)
    splits: dict[Split, Sequence[Example]] = {s: stored_examples(folder, s) for s in SPLITS}
    if not all(splits.values()):
        checks.check_sizes({split: list(rows) for split, rows in splits.items()}, name)
    if spec.max_rows is not None:
        chosen = subset(splits, max(spec.max_rows, len(SPLITS)))
        checks.check_subset(chosen, splits, spec.max_rows)
        repeated = _repeated(chosen)
        with SplitWriter(folder) as writer:
            for split, rows in chosen.items():
                for example in rows:
                    writer.add(split, StoredRow.of(split, example))
            writer.end()
        splits = {split: stored_examples(folder, split) for split in SPLITS}
    if classes:
        checks.check_seen(splits, name)
    hashes = {split: stored_hashes(folder, split) for split in SPLITS}
    dataset = _dataset(name, parts, splits, files, hashes, repeated, said)
    record = {one.name: getattr(dataset, one.name) for one in dataclass_fields(dataset)}
    text = json.dumps({**record, "splits": {}})
    (folder / _RECORD).write_text(text, encoding="utf-8")
