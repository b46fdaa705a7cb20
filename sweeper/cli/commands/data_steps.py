"""The steps of ``sweeper data``: rows from flags, and new files from rows."""

from __future__ import annotations

from pathlib import Path

from sweeper.artifact import replacing
from sweeper.cli.options import columns as column_map
from sweeper.data.converting import TARGETS, Conversion, conversion
from sweeper.data.dividing import Division, divide
from sweeper.data.examples import SPLITS
from sweeper.data.problems import WRITTEN
from sweeper.data.rows import DataRows, read_rows
from sweeper.data.write_rows import changes_path, name_in_folder, target, write_rows
from sweeper.errors import DataError, UsageError, near_match
from sweeper.spec import TASKS, DataSpec, SplitBy, Task
from sweeper.views.console import say


def rows_of(
    path: str,
    task: str | None,
    data_format: str,
    columns: list[str] | None,
    name: str | None = None,
    *,
    quiet: bool = False,
) -> DataRows:
    """The rows that the flags name.

    Args:
        quiet: Leave out the cautions, which the caller shows.

    Raises:
        UsageError: A flag holds a mistake.
        DataError: The data cannot be read or recognised.
    """
    spec = DataSpec(path=path, name=name, format=data_format, columns=column_map(columns or []))
    rows = read_rows(spec, _task(task))
    for said in rows.cautions if not quiet else ():
        say(f"Check this: {said}")
    if not any(row.example for row in rows.rows):
        raise DataError("no row can be trained on", fix="Is this the right file?", where=path)
    return rows


def _task(name: str | None) -> Task | None:
    for task in TASKS:
        if task == name:
            return task
    if name is not None:
        raise UsageError(f"{name!r} is not a task", fix=near_match(name, TASKS), where="--task")
    return None


def must_be_new(output: Path, rows: DataRows) -> None:
    """Check that the new data set can be written before anything is done.

    Raises:
        UsageError: The place is taken, or no file of that kind can be written.
    """
    _must_be_free(output, changes_path(output))
    if len(rows.forms) == 1:
        target(output, Path(next(iter(rows.forms))))


def split_spec(
    path: str,
    name: str | None,
    fractions: tuple[float, float],
    seed: int,
    by_hash: bool,
    group_by: str | None,
    by_time: str | None,
) -> DataSpec:
    """The spec of a division within each class, by hash, by a column, or by time.

    Raises:
        UsageError: Several of the last three are asked for.
    """
    ways = {"--by-hash": by_hash, "--group-by": group_by, "--by-time": by_time}
    given = [flag for flag, value in ways.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} were given", fix="Give one of them.")
    split_by: dict[str, SplitBy] = {"--by-hash": "hash", "--group-by": "group", "--by-time": "time"}
    return DataSpec.model_construct(
        path=path,
        name=name,
        validation_fraction=fractions[0],
        test_fraction=fractions[1],
        split_seed=seed,
        split_by=split_by[given[0]] if given else "stratified",
        split_column=group_by or by_time,
    )


def write_splits(data: DataRows, spec: DataSpec, output: Path) -> Division:
    """Divide the rows, and write a file for each split into a new folder.

    Raises:
        UsageError: The folder exists.
        DataError: See ``divide``.
    """
    _must_be_free(output)
    made = divide(data, spec)
    suffix = Path(name_in_folder(Path(next(iter(data.forms))))).suffix
    named = conversion(data, None, suffix)  # with the names of numbered classes
    with replacing(output) as part:
        part.mkdir()
        for split in SPLITS:
            placed = zip(data.rows, made.splits, strict=True)
            if made.rows[split]:
                rows = (named.row(row, None) for row, found in placed if found == split)
                write_rows(part / f"{split}{suffix}", rows, data.columns)
    return made


def division_summary(made: Division, output: Path) -> dict[str, object]:
    """What was written, for JSON."""
    return {
        "output": str(output),
        "rows": made.rows,
        "official": sorted(made.official),
        "labels": {split: dict(counts) for split, counts in made.labels.items()},
        "unreadable": list(made.unreadable),
    }


def target_format(to: str | None) -> str | None:
    """The format that a flag names.

    Raises:
        UsageError: There is none of that name.
    """
    if to is not None and to not in TARGETS:
        raise UsageError(f"{to!r} is not a format", fix=near_match(to, TARGETS), where="--to")
    return to


def write_converted(data: DataRows, to: str | None, output: Path) -> tuple[Conversion, list[Path]]:
    """Write the rows in another format: a file, or one for each split in a new folder.

    Raises:
        UsageError: The output exists, or is no kind of file that can be written.
        DataError: The format cannot hold all rows.
    """
    _must_be_free(output)
    splits = [split for split in SPLITS if any(row.split == split for row in data.rows)]
    folder = len(splits) > 1
    first = Path(next(iter(data.forms)))
    if folder and output.suffix.lower() in WRITTEN:
        raise UsageError(
            f"the data have {len(splits)} splits, which one file would join",
            fix=f"Name a folder: -o {output.with_suffix('')}.",
            where="-o",
        )
    suffix = Path(name_in_folder(first)).suffix if folder else target(output, first)
    made = conversion(data, to, suffix)
    names = {split: f"{split}{suffix}" if folder else "" for split in splits}
    with replacing(output) as part:
        if folder:
            part.mkdir()
        for split, name in names.items():
            columns = list(dict.fromkeys(name for row in made.rows(split) for name in row))
            write_rows(part / name, made.rows(split), columns)
    return made, [output / name for name in names.values()]


def _must_be_free(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            fix = "Delete it, or name another -o."
            raise UsageError("the output exists", fix=fix, where=str(path))
        if not path.absolute().parent.is_dir():
            raise UsageError("there is no such folder", where=str(path.absolute().parent))
