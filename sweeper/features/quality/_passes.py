"""Finds the faults of a data set in passes over its rows, which may stay in their file.

``FaultKind.compares`` decides which rows a kind gets at once. ``nothing``: blocks of rows.
``inputs``: all rows with the same input, found by hashes of eight bytes. ``labels``: all rows
without their texts. ``everything``: a sample, whose size the finding states.
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
from sweeper.features.quality._kinds.base import Compared, Fault, FaultKind

BLOCK_ROWS = 20_000
READ_ROWS = 1000
"""Rows of a block for kinds that compare nothing. With more, garbage collection takes long."""

SAMPLE_ROWS = 100_000
"""The most rows of a sample. Measured: 5 KiB of memory for a row of 500 bytes."""

MAX_EXAMPLES = 5
"""The most faults of a kind that are shown."""

_BUCKETS = 64
_MAX_BLOCKS_OF_AN_INPUT = 5


@dataclass
class FaultsOfKind:
    """The faults of one kind.

    Args:
        rows: Number of rows with a fault.
        first: The first rows with a fault, and what is wrong there.
        lines: Line numbers of all faults, by file.
        mendable: Rows that the remedy changes or leaves out.
        looked_at: Rows of the sample; 0 if all rows were checked.
        missing: The reason why the kind cannot be checked; empty if it can.
        begun: Whether ``missing`` is decided.
    """

    rows: int = 0
    first: list[tuple[FileRow, str]] = field(default_factory=list)
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mendable: int = 0
    looked_at: int = 0
    missing: str = ""
    begun: bool = False

    def check(self, kind: FaultKind, data: CheckedRows) -> None:
        """Add the faults of these rows. The first call decides whether the kind can be checked."""
        if not self.begun:
            self.begun, self.missing = True, kind.missing(data)
        if not self.missing:
            self._add(data.rows, kind.find(data))

    def _add(self, rows: Sequence[FileRow], faults: Sequence[Fault]) -> None:
        self.rows += len({fault.row_index for fault in faults})
        self.mendable += len({fault.row_index for fault in faults if fault.mendable})
        for fault in faults:
            self.lines[rows[fault.row_index].path].add(rows[fault.row_index].line)
        first = [(rows[item.row_index], item.detail) for item in faults[:MAX_EXAMPLES]]
        self.first = sorted(self.first + first, key=lambda item: item[0].line)[:MAX_EXAMPLES]


def find_all(
    data: CheckedRows, wanted: Sequence[FaultKind]
) -> tuple[dict[str, FaultsOfKind], dict[Split, int]]:
    """The faults by kind, and the number of rows by split."""
    by_kind = {kind.name: FaultsOfKind() for kind in wanted}
    counts: Counter[Split] = Counter()
    usable_rows = _UsableRows()
    kinds_of_single_rows = [kind for kind in wanted if kind.compares == "nothing"]
    rows = with_progress(data.rows, f"checking {data.name}", len(data.rows))
    while block := list(islice(rows, READ_ROWS)):
        part = data.with_rows(block)
        for index, row, example in part.usable:
            usable_rows.add(counts.total() + index, row.split, data.spelling(row), example)
        counts.update(row.split for row in block)
        for kind in kinds_of_single_rows:
            by_kind[kind.name].check(kind, part)
    parts: dict[Compared, Iterator[CheckedRows]] = {
        "inputs": usable_rows.repeated(data),
        "labels": usable_rows.labelled(data),
        "everything": usable_rows.sample(data),
    }
    for compared, compared_parts in parts.items():
        kinds = [kind for kind in wanted if kind.compares == compared]
        for part in compared_parts if kinds else ():
            for kind in kinds:
                by_kind[kind.name].check(kind, part)
                if compared == "everything" and len(part.rows) < len(usable_rows):
                    by_kind[kind.name].looked_at = len(part.rows)
    return by_kind, dict(counts)


class _UsableRows:
    """The index, key, split and label of every row that can be trained on: 17 bytes a row."""

    def __init__(self) -> None:
        self._indexes = array("I")
        self._keys = array("Q")
        self._splits = array("B")
        self._labels = array("I")
        self._label_numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, index: int, split: Split, label: str, example: Example) -> None:
        self._indexes.append(index)
        self._keys.append(int(example.key[:16], 16))
        self._splits.append(SPLITS.index(split))
        self._labels.append(self._label_numbers.setdefault(label, len(self._label_numbers)))

    def sample(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """Yield one sample of rows at equal distances."""
        step = max(1, -(-len(self) // SAMPLE_ROWS))
        yield data.with_rows([data.rows[index] for index in self._indexes[::step]], len(self))

    def repeated(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """Blocks of rows whose input occurs in several rows; rows of one input stay together.

        The inputs of a block are a random sample, since they come in the order of hashes.
        """
        row_numbers = self._repeated()
        block: list[int] = []
        for index, number in enumerate(row_numbers, start=1):
            block.append(self._indexes[number])
            is_last = index == len(row_numbers)
            is_end_of_input = is_last or self._keys[row_numbers[index]] != self._keys[number]
            # The rows of a very common input are divided among blocks.
            is_full = len(block) >= (
                BLOCK_ROWS if is_end_of_input else _MAX_BLOCKS_OF_AN_INPUT * BLOCK_ROWS
            )
            if is_last or is_full:
                rows = [data.rows[row] for row in sorted(block)]
                yield data.with_rows(rows, len(self) * len(block) // len(row_numbers))
                block = []

    def _repeated(self) -> array[int]:
        """The numbers of usable rows whose input occurs in several rows, grouped by input."""
        buckets = [array("I") for _ in range(_BUCKETS)]
        for number, key in enumerate(self._keys):
            buckets[key % _BUCKETS].append(number)
        repeated = array("I")
        for bucket in buckets:
            counts = Counter(self._keys[number] for number in bucket)
            bucket_repeats = (number for number in bucket if counts[self._keys[number]] > 1)
            repeated.extend(sorted(bucket_repeats, key=self._keys.__getitem__))
        return repeated

    def labelled(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """All rows with their labels but without their texts; nothing if there are no labels."""
        if self._label_numbers.keys() <= {""}:
            return
        names = list(self._label_numbers)

        def row(number: int) -> FileRow:
            key, label = f"{self._keys[number]:016x}", names[self._labels[number]]
            split = SPLITS[self._splits[number]]
            return FileRow("", split, 0, {}, Example(key, 0, label=label.strip()), raw=label)

        file_rows = LazySequence(len(self), lambda number: data.rows[self._indexes[number]])
        label_rows = LazySequence(len(self), row)
        yield _LabelsAlone(**{**vars(replace(data, rows=file_rows)), "label_rows": label_rows})


@dataclass(frozen=True)
class _LabelsAlone(CheckedRows):
    """Usable rows with their labels only (``label_rows``)."""

    label_rows: Sequence[FileRow] = ()

    def spelling(self, row: FileRow) -> str:
        return row.raw

    @property
    def usable(self) -> Sequence[tuple[int, FileRow, Example]]:
        def usable_row(index: int) -> tuple[int, FileRow, Example]:
            row = self.label_rows[index]
            assert row.example is not None
            return index, row, row.example

        return LazySequence(len(self.label_rows), usable_row)
