"""Faults of a data set: found in passes over its rows, which may stay in their file.

A kind says what it compares (``Kind.compares``). What looks at each row alone gets blocks of rows.
What compares rows that ask the same gets all that do, found by hashes of eight bytes. What counts
labels gets rows without texts. Everything else gets a sample, and its finding says so.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from sweeper.data.examples import SPLITS, Example, Split
from sweeper.data.progress_lines import with_progress
from sweeper.data.rows import FileRow
from sweeper.data.table import LazySequence
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Compared, Fault, Kind

BLOCK_ROWS = 20_000
READ_ROWS = 1000
"""Rows that kinds look at together which compare nothing. With more, the garbage collector goes
through all of them again and again."""

SAMPLE_ROWS = 100_000
"""Rows that similarity, lengths and languages are looked at in. Measured: 5 KiB of memory for a row
of 500 bytes."""

SHOWN_EXAMPLES = 5
"""Faults of a kind that are shown."""

_BUCKETS = 64
_MOST_BLOCKS = 5


@dataclass
class FaultsOfKind:
    """The faults of one kind.

    Args:
        first: The first of them, and what is wrong there.
        lines: From a file to the lines of all of them.
        mendable: How many of them the remedy changes.
        looked_at: Rows of the sample; 0 where all were looked at.
        missing: Why the kind cannot be looked for; empty if it can.
    """

    rows: int = 0
    first: list[tuple[FileRow, str]] = field(default_factory=list)
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mendable: int = 0
    looked_at: int = 0
    missing: str = ""
    begun: bool = False

    def look(self, kind: Kind, data: CheckedRows) -> None:
        """Count the faults of these rows; the first ones decide whether the kind can be found."""
        if not self.begun:
            self.begun, self.missing = True, kind.missing(data)
        if not self.missing:
            self._add(data.rows, kind.find(data))

    def _add(self, rows: Sequence[FileRow], faults: Sequence[Fault]) -> None:
        self.rows += len({fault.row_index for fault in faults})
        self.mendable += len({fault.row_index for fault in faults if fault.mends})
        for fault in faults:
            self.lines[rows[fault.row_index].path].add(rows[fault.row_index].line)
        first = [(rows[item.row_index], item.detail) for item in faults[:SHOWN_EXAMPLES]]
        self.first = sorted(self.first + first, key=lambda item: item[0].line)[:SHOWN_EXAMPLES]


def find_all(
    data: CheckedRows, wanted: Sequence[Kind]
) -> tuple[dict[str, FaultsOfKind], dict[Split, int]]:
    """The faults of each kind, and the rows of each split."""
    by_kind = {kind.name: FaultsOfKind() for kind in wanted}
    counts: Counter[Split] = Counter()
    usable = _Usable()
    alone = [kind for kind in wanted if kind.compares == "nothing"]
    rows = with_progress(data.rows, f"checking {data.name}", len(data.rows))
    while block := list(islice(rows, READ_ROWS)):
        part = data.with_rows(block)
        for index, row, example in part.usable:
            usable.add(counts.total() + index, row.split, data.spelling(row), example)
        counts.update(row.split for row in block)
        for kind in alone:
            by_kind[kind.name].look(kind, part)
    parts: dict[Compared, Iterator[CheckedRows]] = {
        "inputs": usable.repeated(data),
        "labels": usable.labelled(data),
        "everything": usable.sample(data),
    }
    for compared, its_parts in parts.items():
        kinds = [kind for kind in wanted if kind.compares == compared]
        for part in its_parts if kinds else ():
            for kind in kinds:
                by_kind[kind.name].look(kind, part)
                if compared == "everything" and len(part.rows) < len(usable):
                    by_kind[kind.name].looked_at = len(part.rows)
    return by_kind, dict(counts)


class _Usable:
    """What is kept of every row that can be trained on: 17 bytes."""

    def __init__(self) -> None:
        self._places = array("I")
        self._keys = array("Q")
        self._splits = array("B")
        self._labels = array("I")
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, index: int, split: Split, label: str, example: Example) -> None:
        self._places.append(index)
        self._keys.append(int(example.key[:16], 16))
        self._splits.append(SPLITS.index(split))
        self._labels.append(self._names.setdefault(label, len(self._names)))

    def sample(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """Rows at equal distances."""
        step = max(1, -(-len(self) // SAMPLE_ROWS))
        yield data.with_rows([data.rows[index] for index in self._places[::step]], len(self))

    def repeated(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """Blocks of rows whose input occurs in several rows; those of one input stay together.

        The inputs of a block are a random part of all, since they come in the order of hashes.
        """
        several = self._repeated()
        block: list[int] = []
        for index, number in enumerate(several, start=1):
            block.append(self._places[number])
            last = index == len(several)
            ended = last or self._keys[several[index]] != self._keys[number]
            # Of an input that a large part of all rows has, the rows are cut.
            full = len(block) >= (BLOCK_ROWS if ended else _MOST_BLOCKS * BLOCK_ROWS)
            if last or full:
                rows = [data.rows[row] for row in sorted(block)]
                yield data.with_rows(rows, len(self) * len(block) // len(several))
                block = []

    def _repeated(self) -> array[int]:
        """The numbers of rows whose input occurs in several rows, one input after the other."""
        buckets = [array("I") for _ in range(_BUCKETS)]
        for number, key in enumerate(self._keys):
            buckets[key % _BUCKETS].append(number)
        repeated = array("I")
        for bucket in buckets:
            counts = Counter(self._keys[number] for number in bucket)
            several = (number for number in bucket if counts[self._keys[number]] > 1)
            repeated.extend(sorted(several, key=self._keys.__getitem__))
        return repeated

    def labelled(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """All rows with their labels but without their texts; nothing where there is no label."""
        if self._names.keys() <= {""}:
            return
        names = list(self._names)

        def row(number: int) -> FileRow:
            key, label = f"{self._keys[number]:016x}", names[self._labels[number]]
            split = SPLITS[self._splits[number]]
            return FileRow("", split, 0, {}, Example(key, 0, label=label.strip()), raw=label)

        whole = LazySequence(len(self), lambda number: data.rows[self._places[number]])
        light = LazySequence(len(self), row)
        yield _LabelsAlone(**{**vars(replace(data, rows=whole)), "light": light})


@dataclass(frozen=True)
class _LabelsAlone(CheckedRows):
    light: Sequence[FileRow] = ()

    def spelling(self, row: FileRow) -> str:
        return row.raw

    @property
    def usable(self) -> Sequence[tuple[int, FileRow, Example]]:
        def at(index: int) -> tuple[int, FileRow, Example]:
            row = self.light[index]
            assert row.example is not None
            return index, row, row.example

        return LazySequence(len(self.light), at)
