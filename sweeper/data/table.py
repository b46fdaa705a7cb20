"""The types of rows as read from a file, before columns have roles."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import NamedTuple, TypeVar, overload

from sweeper.data.progress_lines import with_progress
from sweeper.errors import Problem

Fields = Mapping[str, object]
Numbered = tuple[int, Fields]
"""A line (or row) number with the fields of its row."""


class Broken(NamedTuple):
    """A row that cannot be read, with what the file holds there, as far as it is kept.

    ``problem`` is what is raised if most rows of a file are broken; None for a line without a row.
    """

    line: int
    reason: str
    text: str
    problem: Problem | None


Item = TypeVar("Item", covariant=True)


class Stored(Sequence[Item]):
    """A sequence whose items are made anew, from a file, whenever they are asked for.

    Args:
        size: How many items there are.
        at: Makes the item of a place.
        stream: Makes all items in order, faster than one by one.
    """

    def __init__(
        self,
        size: int,
        at: Callable[[int], Item],
        stream: Callable[[], Iterator[Item]] | None = None,
    ) -> None:
        self._size = size
        self._at = at
        self._stream = stream

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> Stored[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Stored[Item]:
        places = range(self._size)[index]
        if isinstance(places, int):
            return self._at(places)
        return Stored(len(places), lambda position: self._at(places[position]))

    def __iter__(self) -> Iterator[Item]:
        return self._stream() if self._stream else map(self._at, range(self._size))


def mapped(
    rows: Sequence[Numbered], make: Callable[[int, Fields], Item], what: str
) -> Sequence[Item]:
    """What is made of each row: at once, or of rows in a file whenever it is asked for.

    Args:
        what: The work, for lines about its progress.
    """
    if not isinstance(rows, Stored):
        return tuple(make(line, fields) for line, fields in with_progress(rows, what, len(rows)))
    return Stored(
        len(rows),
        lambda index: make(*rows[index]),
        lambda: (make(line, fields) for line, fields in rows),
    )


def joined(parts: Sequence[Sequence[Item]]) -> Sequence[Item]:
    """The items of several sequences, one after the other."""
    if not any(isinstance(part, Stored) for part in parts):
        return tuple(item for part in parts for item in part)
    ends = list(accumulate(map(len, parts)))

    def at(index: int) -> Item:
        part = bisect_right(ends, index)
        return parts[part][index - ends[part] + len(parts[part])]

    return Stored(ends[-1], at, lambda: chain.from_iterable(parts))


@dataclass(frozen=True)
class RowTable:
    """The rows of one or more files of the same split.

    Args:
        rows: Line (or row) number and fields of every row; those of a large file stay in it.
        how: In words, how the file was read, where that had to be found out.
        label_names: Column to names of its integer classes, where the file states them.
        cautions: What a user should check about how the file was read, with the remedy.
        named: All columns, where whoever read the file has noted them.
    """

    name: str
    rows: Sequence[Numbered]
    how: tuple[str, ...] = ()
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broken: tuple[Broken, ...] = ()
    cautions: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order in which they first occur."""
        return self.named or tuple(
            dict.fromkeys(name for _, fields in self.rows for name in fields)
        )

    def sample(self, size: int) -> Iterator[Fields]:
        """At most ``size`` rows at equal distances, the same ones every time."""
        step = max(1, -(-len(self.rows) // size))
        return (fields for _, fields in self.rows[::step])

    def joined(self, other: RowTable) -> RowTable:
        """This table with the rows of another file (a shard) after its own."""
        return RowTable(
            name=self.name,
            rows=joined((self.rows, other.rows)),
            how=tuple(dict.fromkeys(self.how + other.how)),
            label_names={**other.label_names, **self.label_names},
            broken=self.broken + other.broken,
            cautions=tuple(dict.fromkeys(self.cautions + other.cautions)),
            named=tuple(dict.fromkeys(self.columns + other.columns)),
        )
