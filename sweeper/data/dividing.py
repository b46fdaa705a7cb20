"""The split of every row of a file, for files of their own: ``sweeper data split``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.data.examples import SPLITS, Split, digest
from sweeper.data.formats.base import text_of
from sweeper.data.groups import Member, divided, widest_gap
from sweeper.data.load import split_column
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.splits import asked
from sweeper.errors import DataError
from sweeper.spec import DataSpec


@dataclass(frozen=True)
class Division:
    """The split of each row, in the order of the rows.

    Args:
        splits: None for rows that no file can hold.
        official: Splits that the source has.
        labels: Rows of each class in each split.
        unreadable: Lines that cannot be read.
    """

    splits: tuple[Split | None, ...]
    official: frozenset[Split]
    labels: Mapping[Split, Counter[str]]
    unreadable: tuple[int, ...]

    @property
    def rows(self) -> dict[Split, int]:
        return {split: self.splits.count(split) for split in SPLITS}

    @property
    def widest_gap(self) -> tuple[float, str, Split] | None:
        """The class whose share differs most between a split and all rows."""
        labels = {split: list(counts.elements()) for split, counts in self.labels.items()}
        return widest_gap(labels) if any(labels.values()) else None


def divide(data: DataRows, spec: DataSpec) -> Division:
    """Divide the rows of train; those of official splits stay where they are.

    Raises:
        DataError: There is nothing to divide, a column is missing, or a split would be empty.
    """
    official = data.official
    shares = {s: share for s, share in asked(spec).items() if s not in official and share}
    if not shares or sum(shares.values()) >= 1:
        what = "validation and test would take all rows" if shares else "there is nothing to split"
        why = "" if shares else f"The data have {', '.join(official)} already."
        raise DataError(what, why=why, where=data.name)
    column = split_column(spec, data.columns)
    members = [_member(row, column) for row in data.rows if row.split == "train" and row.readable]
    found = iter(divided(members, spec, shares))
    splits = tuple(
        None if not row.readable else next(found) if row.split == "train" else row.split
        for row in data.rows
    )
    labels: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for row, split in zip(data.rows, splits, strict=True):
        if split is not None and row.label:
            labels[split][row.label] += 1
    unreadable = tuple(row.line for row in data.rows if not row.readable)
    made = Division(splits, frozenset(official) - {"train"}, labels, unreadable)
    if empty := [split for split in ("train", *shares) if not made.rows[split]]:
        raise DataError(
            f"no row is left for {' and '.join(empty)}",
            why=f"The data have {len(members):,} rows to divide.",
            fix="Add rows, take larger shares, or another --seed.",
            where=data.name,
        )
    return made


def _member(row: FileRow, column: str | None) -> Member:
    value = text_of(row.fields.get(column)) if column else ""
    if row.example is None:  # it is kept all the same, where its cells put it
        return Member(digest(json.dumps(row.fields, default=str, sort_keys=True)), value=value)
    return Member(row.example.key, row.input, value)
