"""The types of rows as read from a file, before columns have roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Fields = Mapping[str, object]


@dataclass(frozen=True)
class RowTable:
    """The rows of one or more files of the same split.

    Args:
        name: The file, as messages call it.
        rows: Line (or row) number and fields of every row.
        how: In words, how the file was read, where that had to be found out.
        label_names: Column to names of its integer classes, where the file states them.
        garbled: Lines that held bytes which are not text; they were replaced.
        broken: Line and reason of every row that could not be read.
        cautions: What a user should check about how the file was read, with the remedy.
    """

    name: str
    rows: tuple[tuple[int, Fields], ...]
    how: tuple[str, ...] = ()
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    garbled: tuple[int, ...] = ()
    broken: tuple[tuple[int, str], ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order in which they first occur."""
        return tuple(dict.fromkeys(name for _, fields in self.rows for name in fields))

    def sample(self, size: int) -> Iterator[Fields]:
        """At most ``size`` rows at equal distances, the same ones every time."""
        step = max(1, -(-len(self.rows) // size))
        return (fields for _, fields in self.rows[::step])

    def joined(self, other: RowTable) -> RowTable:
        """This table with the rows of another file (a shard) after its own."""
        return RowTable(
            name=self.name,
            rows=self.rows + other.rows,
            how=tuple(dict.fromkeys(self.how + other.how)),
            label_names={**other.label_names, **self.label_names},
            garbled=self.garbled + other.garbled,
            broken=self.broken + other.broken,
            cautions=tuple(dict.fromkeys(self.cautions + other.cautions)),
        )
