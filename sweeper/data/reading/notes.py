"""What is noted while the rows of a file are read, and when a file is given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sweeper.data.problems import raise_any
from sweeper.data.table import Broken, Numbered, RowTable
from sweeper.errors import DataError, Problem

_SHOWN_CHARACTERS = 200
"""Characters that are kept of a row that cannot be read."""

_FEWEST_BROKEN = 10_000
"""Broken rows from which on a file is given up while it is read, if most rows are broken."""

MOST_COLUMNS = 10_000
"""More are not fields of examples. Common practice: spreadsheets end at 16,384."""


@dataclass
class FileNotes:
    """What is noted while the rows of a file are read.

    Args:
        name: Of the file, for messages.
        how: In words, how it is read.
        cautions: What a user should check.
        label_names: Column to names of its integer classes.
        columns: All columns so far.
        rows: How many rows were read.
    """

    name: str
    how: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    columns: dict[str, None] = field(default_factory=dict)
    rows: int = 0

    def leave_out(self, line: int, reason: str, text: str, what: str = "", fix: str = "") -> None:
        """Note a line without a readable row.

        Args:
            what: Why it is no row, for an error if most lines are none; empty if it needs none.

        Raises:
            DataError: Most of many rows are broken.
        """
        problem = Problem(what, fix=fix, where=f"{self.name}:{line}") if what else None
        self.broken.append(Broken(line, reason, text[:_SHOWN_CHARACTERS], problem))
        if len(self.broken) >= _FEWEST_BROKEN:
            self.refuse_most()

    def refuse_most(self) -> None:
        """Refuse a file of which more rows are broken than can be read.

        Raises:
            DataError: With the first problems.
        """
        if len(self.broken) > self.rows:
            raise_any([broken.problem for broken in self.broken if broken.problem])

    def counted(self, rows: Iterable[Numbered]) -> Iterator[Numbered]:
        """The same rows, with their columns noted.

        Raises:
            DataError: There are too many columns.
        """
        for line, fields in rows:
            self.rows += 1
            if not self.columns.keys() >= fields.keys():
                self.columns |= dict.fromkeys(fields)
            if len(self.columns) > MOST_COLUMNS:
                raise DataError(
                    f"more than {MOST_COLUMNS:,} columns",
                    why="Roles are looked for in every column.",
                    fix="Is this a matrix, or rows written side by side? Keep the columns with "
                    "text.",
                    where=f"{self.name}:{line}",
                )
            yield line, fields

    def table(self, rows: Sequence[Numbered]) -> RowTable:
        """The table of these rows.

        Raises:
            DataError: There are none, or most are broken.
        """
        self.refuse_most()
        if not rows:
            raise DataError("the file has no rows", fix="Is this the right file?", where=self.name)
        return RowTable(
            self.name,
            rows,
            tuple(self.how),
            self.label_names,
            tuple(sorted(self.broken, key=lambda broken: broken.line)),
            tuple(self.cautions),
            tuple(self.columns),
        )
