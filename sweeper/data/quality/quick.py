"""Warnings of a plan about the texts of a data set: those faults that are quick to look for."""

from __future__ import annotations

from itertools import islice

from sweeper.data.detect import Form
from sweeper.data.examples import Dataset
from sweeper.data.quality.check import check
from sweeper.data.quality.kinds.base import kinds
from sweeper.data.quality.rows import DataRows, FileRow, flags_of
from sweeper.spec import DataSpec, Task

MOST_ROWS = 20_000
"""Rows of a split that are looked at: about two seconds of patterns."""


def quick_warnings(dataset: Dataset, spec: DataSpec, task: Task) -> tuple[str, ...]:
    """A sentence with its remedy for each kind of fault that is found quickly."""
    rows = tuple(
        FileRow(dataset.path, split, example.line, {}, example)
        for split, examples in dataset.splits.items()
        for example in islice(examples, MOST_ROWS)
    )
    form = Form(dataset.format, dataset.columns, ())
    flags = flags_of(spec, task)
    data = DataRows(dataset.path, task, rows, {dataset.path: form}, flags=flags)
    found = check(data, [kind for kind in kinds().values() if kind.in_plan]).findings
    return tuple(
        f"{'1 row' if one.count == 1 else f'{one.count:,} rows'} {one.title} (line "
        f"{', '.join(str(example.line) for example in one.examples[:3])}). {one.consequence} "
        f"To repair the file: {one.command}{', or give --fix' if one.safe else ''}"
        for one in found
    )
