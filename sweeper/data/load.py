"""A data set from what the user named: files, form, examples, splits, checks, in this order."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from functools import partial, reduce
from heapq import nsmallest
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from sweeper.cache import home, made_while_used
from sweeper.data import checks
from sweeper.data.detect import Form, detect
from sweeper.data.encoding import is_garbled
from sweeper.data.examples import SPLITS, Dataset, Example, Origin, Split, digest
from sweeper.data.formats.base import EmptyRow, RawRow, Unusable, formats
from sweeper.data.labels import LabelChanges, label_changes, reconciled
from sweeper.data.problems import listing
from sweeper.data.reading.files import split_files
from sweeper.data.reading.large import is_large, state_of
from sweeper.data.reading.read import read
from sweeper.data.splits import (
    carve,
    class_of,
    class_sizes,
    in_order,
    proportional,
    shares,
    subset,
)
from sweeper.data.stored import (
    Sorter,
    SplitWriter,
    StoredRow,
    changed,
    stored_examples,
    stored_rows,
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
class _Found:
    """What is known of the rows of all splits together."""

    labels: set[str]
    fingerprint: str
    duplicates: int
    leaked: int
    conflicting: int


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
    found = _Found(
        labels={example.label for example in splits["train"] if example.label},
        fingerprint=_fingerprint(splits),
        duplicates=checks.duplicates(splits),
        leaked=checks.leaked(splits),
        conflicting=checks.conflicting(splits),
    )
    return _dataset(name, parts, splits, files, found, label_cautions)


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
    found: _Found,
    label_cautions: tuple[str, ...],
) -> Dataset:
    form = parts["train"].form
    dataset = Dataset(
        path=name,
        format=form.format,
        evidence=_evidence(parts, files),
        columns={str(role): column for role, column in form.columns.items()},
        splits=dict(splits),
        origins=_origins(files),
        labels=tuple(sorted(found.labels)),
        fingerprint=found.fingerprint,
        duplicates=found.duplicates,
        empties=sum(len(part.examples.empty) for part in parts.values()),
        skipped=sum(len(n) for part in parts.values() for n in part.examples.skipped.values()),
        leaked=found.leaked,
        conflicting=found.conflicting,
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


def _fingerprint(splits: Mapping[Split, tuple[Example, ...]]) -> str:
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for example in splits[split]:
            sha.update(f"{example.content_hash()}\n".encode())
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
    counts: dict[Split, Counter[str]] = {split: Counter() for split in files}
    changes: LabelChanges = {}
    said: tuple[str, ...] = ()
    with Sorter(folder / "sorting") as sorter, SplitWriter(folder) as writer:

        def take(split: Split, example: Example) -> None:
            counts[split][example.label or ""] += 1
            sorter.add(split, example)

        parts = _parts(files, task, spec, take)
        total = sum(one.total() for one in counts.values())
        if task == "classification":
            checks.check_labels(
                {split: _with_labels(one.elements()) for split, one in counts.items()}, name
            )
            changes, said = label_changes(counts, name)
        sorter.sort(lambda row: changed(row, changes) if changes else row)
        place = _places(sorter, set(files), task, spec, total)
        quotas = _quotas(sorter, place, total, spec) if spec.max_rows else None
        counted = _written(sorter, writer, place, quotas, task, total)
    splits = {split: stored_examples(folder, split) for split in SPLITS}
    if not all(splits.values()):
        checks.check_sizes({split: list(rows) for split, rows in splits.items()}, name)
    if task == "classification":
        kept = {s: _with_labels({example.label for example in splits[s]}) for s in SPLITS}
        checks.check_seen(kept, name)
    found = replace(counted, fingerprint=_stored_fingerprint(folder))
    dataset = _dataset(name, parts, splits, files, found, said)
    fields = {one.name: getattr(dataset, one.name) for one in dataclass_fields(dataset)}
    text = json.dumps({**fields, "splits": {}})
    (folder / _RECORD).write_text(text, encoding="utf-8")


def _with_labels(labels: Iterable[str | None]) -> list[Example]:
    """Examples of which only the labels are looked at."""
    return [Example("", 0, label=label) for label in labels]


Place = Callable[[StoredRow], Split]


def _places(sorter: Sorter, official: set[Split], task: Task, spec: DataSpec, total: int) -> Place:
    """The split of each row: as ``carve`` gives it, from hashes of eight bytes."""
    hashes: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    classes: dict[str, str] = {}
    rows = 0
    for group in told(sorter.groups(), "dividing into splits", total):
        members = [row for row in group if row.split == "train"]
        if not members:
            continue
        rows += len(members)
        name = class_of(row.example().label for row in members) if task == "classification" else ""
        hashes[name].append(_hash(members[0], spec))
        if len(members) > 1 and task == "classification":
            classes[members[0].key] = name
    taken = _shares(official, rows, spec, str(spec.path))
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
        name = ""
        if task == "classification":
            name = classes.get(row.key) or row.example().label or ""
        mine = _hash(row, spec)
        return next((split for limit, split in limits[name] if mine <= limit), "train")

    return place


def _hash(row: StoredRow, spec: DataSpec) -> int:
    return int(digest(f"{spec.split_seed}:{row.key}")[:16], 16)


def _quotas(
    sorter: Sorter, place: Place, total: int, spec: DataSpec
) -> dict[Split, dict[str | None, int]]:
    """How many rows of each class a subset takes, as ``subset`` does."""
    assert spec.max_rows is not None
    counts: dict[Split, Counter[str | None]] = {split: Counter() for split in SPLITS}
    for group in told(sorter.groups(), "counting rows", total):
        for row in group:
            counts[place(row)][row.example().label] += 1
    rows = max(spec.max_rows, len(SPLITS))
    sizes = proportional({split: one.total() for split, one in counts.items()}, rows)
    quotas = {split: proportional(counts[split], sizes[split]) for split in SPLITS}
    before = {split: _with_labels(one) for split, one in counts.items()}
    after = {s: _with_labels(name for name, n in one.items() if n) for s, one in quotas.items()}
    checks.check_subset(after, before, spec.max_rows)
    return quotas


def _written(
    sorter: Sorter,
    writer: SplitWriter,
    place: Place,
    quotas: dict[Split, dict[str | None, int]] | None,
    task: Task,
    total: int,
) -> _Found:
    """Write every row into its split."""
    labels: set[str] = set()
    duplicates = leaked = conflicting = 0
    for group in told(sorter.groups(), "writing splits", total):
        kept: list[tuple[Split, StoredRow]] = []
        for row in group:
            split = place(row)
            label = row.example().label if quotas or task == "classification" else None
            if quotas:
                if not quotas[split][label]:
                    continue
                quotas[split][label] -= 1
            labels |= {label} if label and split == "train" else set()
            kept.append((split, row))
            writer.add(split, row)
        if len(kept) > 1:
            duplicates += len(kept) - len({row.content_hash for _, row in kept})
            held = sum(split != "train" for split, _ in kept)
            leaked += held if held < len(kept) else 0
            answers = {row.example().answer for _, row in kept}
            conflicting += len(kept) if len(answers) > 1 else 0
    writer.end()
    return _Found(labels, "", duplicates, leaked, conflicting)


def _stored_fingerprint(folder: Path) -> str:
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for row in stored_rows(folder, split):
            sha.update(row.content_hash + b"\n")
    return sha.hexdigest()
