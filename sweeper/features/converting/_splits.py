"""The split of every row of a file, for files of their own: ``sweeper data split``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from sweeper.data.examples import SPLITS, Split
from sweeper.data.groups import widest_gap
from sweeper.data.load import split_rows
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.splits import requested_fractions
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
    """Divide the rows of train as a run does; those of official splits stay where they are.

    Rows that no trial reads, such as empty ones, stay in train.

    Raises:
        DataError: There is nothing to divide, a column is missing, or a split would be empty.
    """
    missing = {split for split, share in requested_fractions(spec).items() if share} - set(
        data.official
    )
    if not missing:
        why = f"The data have {', '.join(data.official)} already."
        raise DataError("there is nothing to split", why=why, where=data.name)
    divided = split_rows(data, spec).splits
    taken = {example.key: split for split in missing for example in divided[split]}
    splits = tuple(map(partial(_split_of, taken), data.rows))
    labels: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for row, split in zip(data.rows, splits, strict=True):
        if split is not None and row.label:
            labels[split][row.label] += 1
    unreadable = tuple(row.line for row in data.rows if not row.readable)
    return Division(splits, frozenset(data.official) - {"train"}, labels, unreadable)


def _split_of(taken: Mapping[str, Split], row: FileRow) -> Split | None:
    if row.readable and row.split == "train" and row.example is not None:
        return taken.get(row.example.key, "train")
    return row.split if row.readable else None
