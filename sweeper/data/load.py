"""Makes a data set from the rows of files: splits and checks their examples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from sweeper.data import checks
from sweeper.data.contents import is_garbled, limited_by_memory
from sweeper.data.examples import SPLITS, DataFault, Dataset, Example, Split
from sweeper.data.formats.row_format import text_of
from sweeper.data.labels import reconcile_labels
from sweeper.data.problems import listing
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.files import split_files
from sweeper.data.reading.layout import SplitFiles
from sweeper.data.rows import DataRows, FileRow, read_rows
from sweeper.data.splits import (
    Repeated,
    assign_splits,
    in_order,
    repeated_in,
    requested_fractions,
    shares,
    subset,
    take_splits,
    widest_gap,
)
from sweeper.errors import DataError, near_match
from sweeper.spec import DataSpec, Task
from sweeper.units import plural

Take = Callable[[Split, Example], None]
Splits = dict[Split, Sequence[Example]]
Choose = Callable[[Splits], Splits]
"""A function that leaves out rows of the splits."""


def all_rows(splits: Splits) -> Splits:
    """The splits as they are."""
    return splits


def dataset_of_rows(data: DataRows, spec: DataSpec, choose: Choose = all_rows) -> Dataset:
    """The data set of these rows, in three splits.

    Official splits are kept as they are; missing ones are carved out of train.

    Raises:
        DataError: Nothing can be learnt from the rows.
    """
    split_data = split_rows(data, spec)
    all_splits = {split: in_order(rows) for split, rows in split_data.splits.items()}
    checks.check_classes_of_train(all_splits, data.name)
    splits = chosen_rows(all_splits, spec, choose)
    hashes = fingerprint_of(splits)
    repeated = repeated_in(splits)
    dataset = make_dataset(
        data, split_data.left_out, splits, hashes, repeated, split_data.label_faults, spec
    )
    return replace(dataset, further_rows=split_data.further)


def chosen_rows(
    whole: Mapping[Split, Sequence[Example]], spec: DataSpec, choose: Choose = all_rows
) -> Splits:
    """The rows of each split that ``max_rows`` and ``choose`` leave.

    Raises:
        DataError: Train lacks a class of another split, or one that it had before.
    """
    splits: Splits = dict(whole)
    if spec.max_rows is not None:
        splits = {**subset(whole, max(spec.max_rows, len(SPLITS)))}
        checks.check_subset(splits, whole, spec.max_rows)
    splits = choose(splits)
    checks.check_classes_of_train(splits, str(spec.named))
    return splits


@dataclass(frozen=True)
class SplitRows:
    """The examples of each split, rows of train marked as made from others, and left-out rows."""

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
    left_out = take_examples(data, spec, lambda split, example: examples[split].append(example))
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
    """All rows of a file in key order, not split: a corpus, rows for replay, or further rows.

    Raises:
        DataError: The file cannot be read or recognised.
    """
    file_spec = DataSpec(path=path, revision=revision, split_seed=spec.split_seed)
    train = SplitFiles({"train": split_files(file_spec).files["train"]})
    examples: list[Example] = []
    take_examples(
        read_rows(file_spec, task, train), file_spec, lambda _, example: examples.append(example)
    )
    return in_order(examples)


@dataclass
class LeftOut:
    """The rows without an example, and the number of examples with lost or garbled characters."""

    rows: dict[tuple[Split, str, str], checks.LeftOutRows] = field(default_factory=dict)
    garbled: int = 0

    def add(self, row: FileRow) -> None:
        reason = checks.EMPTY if row.empty else row.reason
        kind: checks.LeftOutKind = (
            "empty" if row.empty else "form" if row.readable else "unreadable"
        )
        group = checks.LeftOutRows(row.split, reason, kind, row.path)
        self.rows.setdefault((row.split, reason, kind), group).lines.append(row.line)

    @property
    def counts(self) -> Counter[str]:
        counts = Counter(garbled=self.garbled)
        for group in self.rows.values():
            counts[group.kind] += len(group.lines)
        return counts


def take_examples(data: DataRows, spec: DataSpec, take: Take) -> LeftOut:
    """Pass every example to ``take``, and return the rows that are left out.

    Raises:
        DataError: Most rows of a split do not have the form, or the column to split by is missing.
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
            for group in left_out.rows.values()
            if group.split == split and group.kind != "empty"
        ]
        if (count := sum(len(group.lines) for group in groups)) <= rows_by_split[split] / 2:
            continue
        reasons = [
            f"{group.reason} ({plural(len(group.lines), 'row')}, first line {group.lines[0]})"
            for group in sorted(groups, key=lambda group: -len(group.lines))
        ]
        raise DataError(
            f"{count} of {rows_by_split[split]} rows do not have the form that was recognised",
            why=listing(reasons, 4),
            fix="Repair these rows. If most rows were good, the others would be left out and "
            "listed.",
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
    taken_shares = shares_taken(official.keys(), len(official["train"]), spec, name)
    stratified = {**official, **take_splits(official["train"], taken_shares, spec.split_seed)}
    splits = {split: stratified[split] for split in SPLITS if split in stratified}
    checks.check_sizes(splits, name)
    return splits


def shares_taken(official: Set[Split], rows: int, spec: DataSpec, name: str) -> dict[Split, float]:
    """The share of the inputs of train, which has ``rows`` rows, that each missing split takes."""
    used_rows = min(rows, spec.max_rows or rows)
    return shares(used_rows, _missing_shares(official, spec, name), spec.max_held_out_rows)


def _missing_shares(official: Set[Split], spec: DataSpec, name: str) -> dict[Split, float]:
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
        DataError: A column is needed and not named, named and not needed, or does not exist.
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


def make_dataset(
    data: DataRows,
    left_out: LeftOut,
    splits: Mapping[Split, Sequence[Example]],
    fingerprint: str,
    repeated: Repeated,
    label_faults: tuple[DataFault, ...],
    spec: DataSpec,
) -> Dataset:
    """The data set of these splits, with evidence, faults and warnings."""
    labelled = splits["train"] if data.form.format == "text-label" else ()
    missing = [split for split in SPLITS if split not in data.official]
    # Train is official only if nothing was taken from it.
    carved = {*missing, "train"} if missing else set()
    dataset = Dataset(
        path=data.name,
        format=data.form.format,
        evidence=(
            *data.evidence,
            *_split_evidence(splits, missing, spec),
        ),
        columns=dict(data.form.columns),
        splits=dict(splits),
        origins={split: "hash" if split in carved else "official" for split in SPLITS},
        labels=tuple(sorted({e.label for e in labelled if e.label})),
        fingerprint=fingerprint,
        counts=left_out.counts + repeated.counts,
    )
    faults = (*label_faults, *checks.faults(dataset, left_out.rows.values(), repeated, spec))
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
    return fingerprint_of_hashes(
        {s: (e.content_hash() for e in rows) for s, rows in splits.items()}
    )


def fingerprint_of_hashes(hashes: Mapping[Split, Iterable[str]]) -> str:
    """The fingerprint of splits whose rows have these content hashes."""
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split}\n".encode())
        for content_hash in hashes[split]:
            sha.update(f"{content_hash}\n".encode())
    return sha.hexdigest()
