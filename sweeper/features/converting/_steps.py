"""The steps of ``sweeper data split`` and ``data convert``: write files, and print their sizes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sweeper.artifact import Record
from sweeper.cli.data_options import must_be_free
from sweeper.data.examples import SPLITS, Split
from sweeper.data.load import split_rows
from sweeper.data.problems import WRITABLE_SUFFIXES, listing
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.splits import requested_fractions, widest_gap
from sweeper.data.write_rows import name_in_folder, writable_suffix, write_rows
from sweeper.errors import DataError, UsageError
from sweeper.features.converting._formats import conversion, own_cells
from sweeper.spec import DataSpec, SplitBy
from sweeper.textfiles import replacing
from sweeper.units import plural
from sweeper.views.console import show_line


def split_spec(
    path: str,
    name: str | None,
    fractions: tuple[float, float],
    seed: int,
    by_hash: bool,
    group_by: str | None,
    by_time: str | None,
) -> DataSpec:
    """The spec of a split within each class, or by hash, group or time.

    Args:
        fractions: Shares of the inputs for validation and test.

    Raises:
        UsageError: Several of ``by_hash``, ``group_by`` and ``by_time`` are given.
    """
    flags = {"--by-hash": by_hash, "--group-by": group_by, "--by-time": by_time}
    given_flags = [flag for flag, value in flags.items() if value]
    if len(given_flags) > 1:
        raise UsageError(f"{' and '.join(given_flags)} were given", fix="Give one of them.")
    split_by: dict[str, SplitBy] = {"--by-hash": "hash", "--group-by": "group", "--by-time": "time"}
    return DataSpec.model_construct(
        path=path,
        name=name,
        validation_fraction=fractions[0],
        test_fraction=fractions[1],
        split_seed=seed,
        split_by=split_by[given_flags[0]] if given_flags else "stratified",
        split_column=group_by or by_time,
    )


class DivisionFiles(Record):
    """The result of ``data split``.

    Args:
        rows: Number of rows by split.
        official: Splits that the data already had, without train.
        labels: Number of rows of each class, by split.
        unreadable: Line numbers of unreadable rows, which no file has.
    """

    output: str
    rows: dict[Split, int]
    official: tuple[Split, ...]
    labels: dict[Split, dict[str, int]]
    unreadable: tuple[int, ...]


def write_splits(data: DataRows, spec: DataSpec, output: Path) -> DivisionFiles:
    """Divide the rows, and write a file for each split into a new folder.

    Raises:
        UsageError: The folder exists.
        DataError: See ``split_of_rows``.
    """
    must_be_free(output)
    splits = split_of_rows(data, spec)
    counts = {split: splits.count(split) for split in SPLITS}
    suffix = Path(name_in_folder(_first_file(data))).suffix
    with replacing(output) as partial:
        partial.mkdir()
        for split in filter(counts.__getitem__, SPLITS):
            pairs = zip(data.rows, splits, strict=True)
            rows = (own_cells(row, data) for row, row_split in pairs if row_split == split)
            write_rows(partial / f"{split}{suffix}", rows, data.columns)
    labels: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for row, row_split in zip(data.rows, splits, strict=True):
        if row_split is not None and row.label:
            labels[row_split][row.label] += 1
    return DivisionFiles(
        output=str(output),
        rows=counts,
        official=tuple(sorted({*data.official} - {"train"})),
        labels={split: dict(split_labels) for split, split_labels in labels.items()},
        unreadable=tuple(row.line for row in data.rows if not row.readable),
    )


def _first_file(data: DataRows) -> Path:
    return Path(next(iter(data.forms)))


def split_of_rows(data: DataRows, spec: DataSpec) -> list[Split | None]:
    """The split of each row as in a run; None for unreadable rows.

    Rows of official splits stay in them. Other rows that cannot be trained on, such as empty ones,
    are in train.

    Raises:
        DataError: There is nothing to divide, a column is missing, or a split would be empty.
    """
    requested = {split for split, share in requested_fractions(spec).items() if share}
    missing = requested - set(data.official)
    if not missing:
        why = f"The data have {', '.join(data.official)} already."
        raise DataError("there is nothing to split", why=why, where=data.name)
    examples_by_split = split_rows(data, spec).splits
    split_by_key = {example.key: split for split in missing for example in examples_by_split[split]}

    def split_of(row: FileRow) -> Split | None:
        if row.split == "train" and row.example is not None:
            return split_by_key.get(row.example.key, "train")
        return row.split if row.readable else None

    return [split_of(row) for row in data.rows]


class ConvertedFiles(Record):
    """The result of ``data convert``.

    Args:
        format: Format of the rows; None if only the kind of file changes.
        rows: Number of written rows.
        left_out: Line numbers of rows that were not written, by reason.
        left_columns: Columns that were not written: they would be read as part of the new format.
    """

    files: tuple[str, ...]
    format: str | None
    rows: int
    left_out: dict[str, tuple[int, ...]]
    left_columns: tuple[str, ...]


def write_converted(data: DataRows, to: str | None, output: Path) -> ConvertedFiles:
    """Write the rows in another format: a file, or one for each split in a new folder.

    Raises:
        UsageError: The output exists, or its kind of file cannot be written.
        DataError: The format cannot hold all rows.
    """
    must_be_free(output)
    splits = [split for split in SPLITS if any(row.split == split for row in data.rows)]
    is_folder = len(splits) > 1
    source = _first_file(data)
    if is_folder and output.suffix.lower() in WRITABLE_SUFFIXES:
        raise UsageError(
            f"one file cannot keep the {len(splits)} splits of the data apart",
            fix=f"Name a folder: -o {output.with_suffix('')}.",
            where="-o",
        )
    suffix = Path(name_in_folder(source)).suffix if is_folder else writable_suffix(output, source)
    result = conversion(data, to, suffix)
    names = {split: f"{split}{suffix}" if is_folder else "" for split in splits}
    with replacing(output) as partial:
        if is_folder:
            partial.mkdir()
        for split, name in names.items():
            columns = list(dict.fromkeys(name for row in result.rows(split) for name in row))
            write_rows(partial / name, result.rows(split), columns)
    left_out = {reason: tuple(lines) for reason, lines in result.left_out.items()}
    return ConvertedFiles(
        files=tuple(str(output / name) for name in names.values()),
        format=to,
        rows=len(data.rows) - sum(map(len, left_out.values())),
        left_out=left_out,
        left_columns=result.dropped,
    )


def show_division(division: DivisionFiles) -> None:
    """Show the rows of each split, and how far class shares differ."""
    total = sum(division.rows.values())
    for split, rows in division.rows.items():
        origin = " (as the data had it)" if split in division.official else ""
        show_line(f"{split:<11}{rows:>9,} rows {rows / total:6.1%}{origin}")
    if any(division.labels.values()):
        labels = {split: [*Counter(counts).elements()] for split, counts in division.labels.items()}
        gap, label, split_of_gap = widest_gap(labels)
        classes = {label for counts in division.labels.values() for label in counts}
        show_line(
            f"{len(classes)} classes, whose shares in the splits and in all rows differ by up to "
            f"{gap:.1%} ({label!r} in {split_of_gap})"
        )
        for split, counts in division.labels.items():
            if missing_classes := sorted(classes - counts.keys()):
                show_line(f"  {split} lacks {listing(missing_classes, form='{!r}')}")
    if division.unreadable:
        count, lines = len(division.unreadable), listing(division.unreadable)
        show_line(f"{plural(count, 'row is', 'rows are')} not written: unreadable (line {lines})")
    show_line(f"Written: {division.output}")


def show_conversion(converted: ConvertedFiles) -> None:
    """Show what was written, and what was left out."""
    for reason, lines in converted.left_out.items():
        rows, numbers = plural(len(lines), "row is", "rows are"), listing(lines)
        show_line(f"{rows} not written: {reason} (line {numbers})")
    if converted.left_columns:
        names = listing(converted.left_columns, form="`{}`")
        show_line(
            f"Columns not written, since they would be read as part of {converted.format}: {names}"
        )
    show_line(f"Written: {listing(converted.files)}")
