"""A data set from what the user named: files, form, examples, splits, checks, in this order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path

from sweeper.data import checks
from sweeper.data.column_template import with_templates
from sweeper.data.detect_columns import Form, detect
from sweeper.data.encoding import is_garbled
from sweeper.data.examples import SPLITS, Dataset, Example, Origin, Split
from sweeper.data.formats.base import EmptyRow, RawRow, Unusable, formats, text_of
from sweeper.data.groups import Member, divided, widest_gap
from sweeper.data.labels import reconciled, without_unseen
from sweeper.data.marks import apart, marked
from sweeper.data.problems import listing
from sweeper.data.reading.files import SplitFiles, split_files
from sweeper.data.reading.read import read
from sweeper.data.splits import Repeated, asked, carve, in_order, repeated_in, shares, subset
from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError, near_match
from sweeper.progress import told
from sweeper.spec import DataSpec, Task
from sweeper.units import plural


@dataclass(frozen=True)
class Part:
    """The content of one split, or of the whole data set."""

    form: Form
    examples: Examples
    how: tuple[str, ...]
    cautions: tuple[str, ...]


Read = Callable[[Path], RowTable]
Tables = Mapping[Split, RowTable]
Take = Callable[[Split, Example], None]
LabelNames = Mapping[str, tuple[str, ...]]
"""Column to the names of its integer classes."""

Splits = dict[Split, tuple[Example, ...]]


def load(
    spec: DataSpec,
    task: Task,
    read_file: Read = read,
    choose: Callable[[Splits], Splits] = lambda splits: splits,
) -> Dataset:
    """The data set of a spec, in three splits.

    Official splits are kept as they are; those that are missing are carved out of train.
    ``choose`` may leave out rows of the splits.

    Raises:
        DataError: The data cannot be read, recognised or learnt from. All problems of a stage are
            listed, with file and line.
    """
    spec = with_path(spec, task)
    source = split_files(spec)
    name = str(spec.path)
    parts = parts_of(tables_of(source, spec, read_file), task, spec)
    official, augmented = apart({split: part.examples.kept for split, part in parts.items()})
    label_cautions: tuple[str, ...] = ()
    if task == "classification" and any(official.values()):
        checks.check_labels(official, name)
        official, label_cautions = reconciled(official, spec)
    divided_rows = _all_splits(official, spec, name)
    if task == "classification" and spec.split_by != "stratified":
        divided_rows, more = without_unseen(divided_rows, name)
        label_cautions += more
    whole = {split: in_order(rows) for split, rows in divided_rows.items()}
    checks.check_seen(whole, name)
    splits = whole
    if spec.max_rows is not None:
        splits = subset(whole, max(spec.max_rows, len(SPLITS)))
        checks.check_subset(splits, whole, spec.max_rows)
    splits = choose(splits)
    checks.check_seen(splits, name)
    fingerprint = fingerprint_of(splits)
    made = described(parts, splits, source, fingerprint, repeated_in(splits), label_cautions, spec)
    return replace(made, augmented=augmented)


def with_path(spec: DataSpec, task: Task) -> DataSpec:
    """The spec whose rows are read: the corpus of a domain task that has no other data."""
    if spec.path is None and spec.corpus is not None and task == "domain":
        alone = {"path": spec.corpus, "revision": spec.corpus_revision}
        return spec.model_copy(update={**alone, "columns": {}, "format": "auto"})
    return spec


def load_corpus(
    path: str, spec: DataSpec, task: Task = "domain", revision: str | None = None
) -> tuple[Example, ...]:
    """All rows of a file for one use: the text of a corpus, rows for replay, or augmented rows.

    They are in key order and not split.

    Raises:
        DataError: It cannot be read or recognised.
    """
    named = DataSpec(path=path, revision=revision, split_seed=spec.split_seed)
    tables = tables_of(SplitFiles({"train": split_files(named).files["train"]}), named)
    return in_order(parts_of(tables, task, named)["train"].examples.kept)


def tables_of(source: SplitFiles, spec: DataSpec, read_file: Read = read) -> Tables:
    """The rows of each official split, with the columns that templates make."""
    return {
        split: with_templates(reduce(RowTable.joined, map(read_file, paths)), spec.columns)
        for split, paths in source.files.items()
    }


def parts_of(
    tables: Tables, task: Task, spec: DataSpec, take: Take | None = None
) -> dict[Split, Part]:
    """The official splits; ``take`` is given their examples instead of a list, if it is there."""
    form = detect(tables["train"], task, spec)
    if (column := split_column(spec, tables["train"].columns)) is not None:
        form = form.grouped(column)
    parts: dict[Split, Part] = {}
    for split, table in tables.items():
        own = form if split == "train" else form_of(table, form, task, spec)
        found = examples(table, own, partial(take, split) if take else None)
        parts[split] = Part(own, found, table.how, cautions_of(table, own, split))
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
    missing = _missing(official.keys(), spec, name)
    if spec.split_by != "stratified" and missing:
        train = official["train"]
        members = [Member(one.key, _asked(one), one.group) for one in train]
        found = divided(members, spec, missing)
        parts: dict[Split, list[Example]] = {split: [] for split in SPLITS}
        for example, split in zip(train, found, strict=True):
            parts[split].append(example)
        parts |= {split: official[split] for split in official if split != "train"}
        checks.check_sizes(parts, name)
        return parts
    taken = shares_taken(official.keys(), len(official["train"]), spec, name)
    stratified = {**official, **carve(official["train"], taken, spec.split_seed)}
    splits = {split: stratified[split] for split in SPLITS}
    checks.check_sizes(splits, name)
    return splits


def shares_taken(official: Set[Split], rows: int, spec: DataSpec, name: str) -> dict[Split, float]:
    """The share of the inputs of train, which has ``rows`` rows, that each missing split takes."""
    used = min(rows, spec.max_rows or rows)
    return shares(used, _missing(official, spec, name), spec.max_held_out_rows)


def _missing(official: Set[Split], spec: DataSpec, name: str) -> dict[Split, float]:
    missing = {split: share for split, share in asked(spec).items() if split not in official}
    if sum(missing.values()) >= 1:
        raise DataError(
            f"validation and test would take {sum(missing.values()):.0%} of the rows",
            why="Nothing would be left to train on.",
            fix="Lower data.validation_fraction and data.test_fraction.",
            where=name,
        )
    return missing


def _asked(example: Example) -> str:
    return example.text or "\n".join(message.content for message in example.messages[:-1])


def split_column(spec: DataSpec, columns: Sequence[str]) -> str | None:
    """The column that decides a row's split, or None.

    Raises:
        DataError: It is needed and not named, or there is no such column.
    """
    needed = spec.split_by in ("group", "time")
    column = spec.split_column
    if (column in columns) if needed else (column is None):
        return column
    what = f"there is no column {column!r} to split by" if column else "no column to split by"
    why = f"data.split_by is {spec.split_by}."
    fix = (
        near_match(str(column), columns)
        if column
        else "Name it: --split-column, or data.split_column."
    )
    if not needed:
        what, fix = f"{column!r} would decide nothing", "Set data.split_by to group or time."
    raise DataError(what, why=why, fix=fix, where="data.split_column")


def described(
    parts: Mapping[Split, Part],
    splits: Mapping[Split, Sequence[Example]],
    source: SplitFiles,
    fingerprint: str,
    repeated: Repeated,
    label_cautions: tuple[str, ...],
    spec: DataSpec,
) -> Dataset:
    """The data set of these splits, with all that is known of them."""
    form, files = parts["train"].form, source.files
    labelled = splits["train"] if form.format == "text-label" else ()
    dataset = Dataset(
        path=str(spec.path),
        format=form.format,
        evidence=(*source.said, *_evidence(parts, files, spec), *_shares(splits, spec)),
        columns={str(role): column for role, column in form.columns.items()},
        splits=dict(splits),
        origins=_origins(files),
        labels=tuple(sorted({e.label for e in labelled if e.label})),
        fingerprint=fingerprint,
        duplicates=repeated.duplicates,
        empties=sum(len(part.examples.empty) for part in parts.values()),
        skipped=sum(len(n) for part in parts.values() for n in part.examples.skipped.values()),
        leaked=repeated.leaked,
        conflicting=repeated.conflicting,
        encoding_problems=sum(part.examples.garbled for part in parts.values()),
    )
    skipped = {split: part.examples.left_out for split, part in parts.items()}
    cautions = dict.fromkeys(said for part in parts.values() for said in part.cautions)
    said = (*cautions, *label_cautions, *checks.warnings(dataset, skipped, spec))
    return replace(dataset, warnings=said)


def _origins(files: Mapping[Split, tuple[Path, ...]]) -> dict[Split, Origin]:
    """Train is official only where nothing was carved out of it."""
    whole = set(files) == set(SPLITS)
    return {
        split: "official" if split in files and (whole or split != "train") else "hash"
        for split in SPLITS
    }


def _evidence(
    parts: Mapping[Split, Part], files: Mapping[Split, tuple[Path, ...]], spec: DataSpec
) -> tuple[str, ...]:
    """The evidence: how files were read, the form recognised, and splits made."""
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
        how = {
            "stratified": "the hash of the input",
            "hash": "the hash of each group of near duplicates alone",
            "group": f"the hash of `{spec.split_column}`",
            "time": f"the time in `{spec.split_column}`, the last rows being the test",
        }[spec.split_by]
        said.append(f"{' and '.join(missing)} taken out of train by {how}")
    return tuple(dict.fromkeys(said))


def _shares(splits: Mapping[Split, Sequence[Example]], spec: DataSpec) -> tuple[str, ...]:
    """The differences of class shares between splits that are not stratified."""
    if spec.split_by == "stratified":
        return ()
    labels = {split: [one.label for one in rows] for split, rows in splits.items()}
    if not any(labels["train"]):
        return ()
    gap, label, split = widest_gap(labels)
    return (f"class shares differ by up to {gap:.1%} ({label!r} in {split}); they are not forced",)


def fingerprint_of(splits: Mapping[Split, Sequence[Example]]) -> str:
    """SHA-256 over the content of all rows in split order."""
    return fingerprint_by({s: (e.content_hash() for e in rows) for s, rows in splits.items()})


def fingerprint_by(hashes: Mapping[Split, Iterable[str]]) -> str:
    """The fingerprint of splits whose rows have these content hashes."""
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
    """The examples of a table; ``take`` is given them instead of a list, if it is there.

    Raises:
        DataError: Most rows do not have the form.
    """
    kept: list[Example] = []
    empty: list[int] = []
    skipped: dict[str, list[int]] = {}
    for broken in table.broken:
        skipped.setdefault(broken.reason, []).append(broken.line)
    take = take or kept.append
    garbled = 0
    for line, fields in told(table.rows, f"reading examples of {table.name}", len(table.rows)):
        made = example_or_reason(form.of(fields), line, fields, table.label_names)
        if isinstance(made, Example):
            garbled += _is_garbled(made)
            take(marked(made, fields))
        elif made == EMPTY_ROW:
            empty.append(line)
        else:
            skipped.setdefault(made, []).append(line)
    _refuse_most_skipped(table, skipped)
    return Examples(kept, empty, skipped, max(garbled, len(table.garbled)))


EMPTY_ROW = "it is empty"
"""Why there is no example of a row without input or answer."""


def example_or_reason(
    form: Form, line: int, fields: Fields, label_names: LabelNames
) -> Example | str:
    """The example of one row, or why there is none."""
    row_format = formats()[form.format]
    names = label_names.get(form.columns.get("label", ""), ())
    row = RawRow(row_format, line, fields, form.columns, names, form.templated, form.gaps)
    try:
        example = row_format.example(row)
    except EmptyRow:
        return EMPTY_ROW
    except Unusable as reason:
        return str(reason)
    return replace(example, group=text_of(fields.get(form.grouping))) if form.grouping else example


def _is_garbled(example: Example) -> bool:
    return is_garbled(example.text) or any(is_garbled(m.content) for m in example.messages)


def cautions_of(table: RowTable, form: Form, split: Split) -> tuple[str, ...]:
    """Cautions for the user: how the file was read, rows of other forms, unused columns."""
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
    said = [f"{why} ({plural(n, 'row')}, first line {skipped[why][0]})" for why, n in reasons]
    raise DataError(
        f"{count} of {rows} rows do not have the form that was recognised",
        why=listing(said, 4),
        fix="Repair these rows. If most rows were good, the others would be left out and listed.",
        where=table.name,
    )
