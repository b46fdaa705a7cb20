"""Checks a data set for all kinds of faults, in passes over its rows, which may stay in their file.

``FaultKind.needs`` decides which rows a kind gets at once. ``single rows``: blocks of rows. ``same
input``: all rows with the same input, found by hashes of eight bytes. ``labels``: all rows without
their texts. ``sample``: a sample of all rows, whose size the finding states.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

from sweeper.data.examples import SPLITS, DataFault, Dataset, Example, Split
from sweeper.data.formats.row_format import Form
from sweeper.data.private import redacted
from sweeper.data.problems import flags_of
from sweeper.data.progress_lines import with_progress
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.table import LazySequence
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix_command
from sweeper.features.quality._kinds.base import Fault, FaultKind, NeededRows, Severity, kinds
from sweeper.spec import DataSpec, Task
from sweeper.units import plural

BLOCK_ROWS = 20_000
"""Rows of a block for kinds that need the rows of the same input."""

READ_ROWS = 1000
"""Rows of a block for kinds that need single rows. With more, garbage collection takes long."""

SAMPLE_ROWS = 100_000
"""Maximum rows of a sample. Measured: 5 KiB of memory for a row of 500 bytes."""

MAX_EXAMPLES = 5
"""Maximum number of faults of a kind that are shown."""

_BUCKETS = 64
"""Groups of input hashes, which are searched for repeated inputs one after another."""

_MAX_BLOCK_FACTOR = 5
"""A block may grow to this multiple of ``BLOCK_ROWS`` to keep the rows of one input together."""


@dataclass
class FaultsOfKind:
    """The faults of one kind.

    Args:
        rows: Number of rows with a fault.
        first: The first rows with a fault, and what is wrong there.
        lines: Line numbers of all faults, by file.
        mendable: Number of rows that the remedy changes or leaves out.
        sample_rows: Rows of the sample; 0 if all rows were checked.
        why_unchecked: Why the kind cannot be checked; empty if it can, None before the first rows.
    """

    rows: int = 0
    first: list[tuple[FileRow, str]] = field(default_factory=list)
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mendable: int = 0
    sample_rows: int = 0
    why_unchecked: str | None = None

    def check(self, kind: FaultKind, data: CheckedRows) -> None:
        """Add the faults of these rows. The first call decides whether the kind can be checked."""
        if self.why_unchecked is None:
            self.why_unchecked = kind.why_unchecked(data)
        if not self.why_unchecked:
            self._add(data.rows, kind.find(data))

    def _add(self, rows: Sequence[FileRow], faults: Sequence[Fault]) -> None:
        self.rows += len({fault.row_index for fault in faults})
        self.mendable += len({fault.row_index for fault in faults if fault.mendable})
        for fault in faults:
            self.lines[rows[fault.row_index].path].add(rows[fault.row_index].line)
        first = [(rows[fault.row_index], fault.detail) for fault in faults[:MAX_EXAMPLES]]
        self.first = sorted(self.first + first, key=lambda item: item[0].line)[:MAX_EXAMPLES]


def find_all(
    data: CheckedRows, wanted: Sequence[FaultKind]
) -> tuple[dict[str, FaultsOfKind], dict[Split, int]]:
    """The faults by kind, and the number of rows by split."""
    by_kind = {kind.name: FaultsOfKind() for kind in wanted}
    counts: Counter[Split] = Counter()
    usable_rows = _UsableRows()
    kinds_of_single_rows = [kind for kind in wanted if kind.needs == "single rows"]
    rows = with_progress(data.rows, f"checking {data.name}", len(data.rows))
    while block := list(islice(rows, READ_ROWS)):
        part = data.with_rows(block)
        for index, row, example in part.usable:
            usable_rows.add(counts.total() + index, row.split, data.raw_label(row), example)
        counts.update(row.split for row in block)
        for kind in kinds_of_single_rows:
            by_kind[kind.name].check(kind, part)
    parts_by_needs: dict[NeededRows, Iterator[CheckedRows]] = {
        "same input": usable_rows.repeated(data),
        "labels": usable_rows.labelled(data),
        "sample": usable_rows.sample(data),
    }
    for needs, parts in parts_by_needs.items():
        kinds = [kind for kind in wanted if kind.needs == needs]
        for part in parts if kinds else ():
            for kind in kinds:
                by_kind[kind.name].check(kind, part)
                if needs == "sample" and len(part.rows) < len(usable_rows):
                    by_kind[kind.name].sample_rows = len(part.rows)
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
        yield data.with_rows([data.rows[i] for i in self._indexes[::step]], represents=len(self))

    def repeated(self, data: CheckedRows) -> Iterator[CheckedRows]:
        """Blocks of rows whose input occurs in several rows; rows of one input stay together.

        The inputs of a block are a random sample, since they come in the order of hashes.
        """
        row_numbers = self._rows_with_repeated_input()
        block: list[int] = []
        for index, number in enumerate(row_numbers, start=1):
            block.append(self._indexes[number])
            is_last = index == len(row_numbers)
            is_end_of_input = is_last or self._keys[row_numbers[index]] != self._keys[number]
            # The rows of a very common input are divided among blocks.
            is_full = len(block) >= (
                BLOCK_ROWS if is_end_of_input else _MAX_BLOCK_FACTOR * BLOCK_ROWS
            )
            if is_last or is_full:
                rows = [data.rows[row] for row in sorted(block)]
                yield data.with_rows(rows, represents=len(self) * len(block) // len(row_numbers))
                block = []

    def _rows_with_repeated_input(self) -> array[int]:
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

    def raw_label(self, row: FileRow) -> str:
        return row.raw

    @property
    def usable(self) -> Sequence[tuple[int, FileRow, Example]]:
        def usable_row(index: int) -> tuple[int, FileRow, Example]:
            row = self.label_rows[index]
            assert row.example is not None
            return index, row, row.example

        return LazySequence(len(self.label_rows), usable_row)


_MAX_CHARACTERS = 80
"""Maximum characters that are shown of a row's text."""


@dataclass(frozen=True)
class ExampleOfFault:
    """A row with a fault: its position, the fault in words, and the start of its text."""

    path: str
    line: int
    detail: str
    text: str


@dataclass(frozen=True)
class FaultFinding:
    """One kind of fault in a data set.

    Args:
        count: Number of rows with the fault.
        share: Share of the checked rows, 0 to 1.
        consequence: Effect of the fault on training or scores.
        remedy: What ``command`` does; empty if there is no command.
        command: Shell command that fixes rows; empty if none can be fixed.
        safe: Whether the remedy is part of ``--all-safe``.
        lines: Line numbers of all rows with the fault, by file.
        mendable: Number of rows that the command changes or leaves out.
        sample_rows: Rows of the sample; 0 if all rows were checked.
    """

    kind: str
    title: str
    count: int
    share: float
    severity: Severity
    consequence: str
    remedy: str
    command: str
    safe: bool
    examples: tuple[ExampleOfFault, ...]
    lines: dict[str, list[int]]
    mendable: int
    sample_rows: int = 0


@dataclass(frozen=True)
class Checked:
    """The result of a check of a data set.

    Args:
        task: The task that the rows were read for.
        rows: Rows by split.
        evidence: How the data were read, in words.
        cautions: Doubts about the reading, which the user should check.
        findings: The faults, the most severe first.
        unchecked: Reasons why kinds could not be checked, by kind.
        mend_all: The command that applies every safe remedy; empty if there is none.
    """

    name: str
    task: str
    rows: dict[str, int]
    format: str
    evidence: tuple[str, ...]
    cautions: tuple[str, ...]
    findings: tuple[FaultFinding, ...]
    unchecked: dict[str, str]
    mend_all: str

    @property
    def serious(self) -> tuple[FaultFinding, ...]:
        """The findings that make scores or a model untrustworthy."""
        return tuple(finding for finding in self.findings if finding.severity == "serious")

    def as_json(self) -> dict[str, object]:
        return asdict(self)


_SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


def check(data: DataRows, wanted: Iterable[FaultKind] | None = None) -> Checked:
    """Look for the wanted kinds of faults.

    Args:
        wanted: By default all, except alternative remedies for another kind (``instead_of``).
    """
    if wanted is None:
        wanted = [kind for kind in kinds().values() if not kind.instead_of]
    wanted, data = list(wanted), CheckedRows.of(data)
    by_kind, counts = find_all(data, wanted)
    total = sum(counts.values())
    findings = [
        _finding(kind, by_kind[kind.name], data, total)
        for kind in wanted
        if by_kind[kind.name].rows
    ]
    findings.sort(key=lambda finding: (_SEVERITIES.index(finding.severity), -finding.count))
    return Checked(
        name=data.name,
        task=data.task,
        rows=dict(counts.items()),
        format=next(iter(data.forms.values())).format,
        evidence=data.evidence,
        cautions=data.cautions,
        findings=tuple(findings),
        unchecked={n: kind.why_unchecked for n, kind in by_kind.items() if kind.why_unchecked},
        mend_all=fix_command(data.name, "--all-safe", *data.flags)
        if any(finding.safe for finding in findings)
        else "",
    )


def _finding(kind: FaultKind, faults: FaultsOfKind, data: DataRows, total: int) -> FaultFinding:
    examples = []
    for row, detail in faults.first:
        cells = str(dict(row.fields)) if row.fields else row.raw
        text = redacted(" ".join((row.input or cells).split()))
        short_text = f"{text[:_MAX_CHARACTERS]}..." if len(text) > _MAX_CHARACTERS else text
        examples.append(ExampleOfFault(row.path, row.line, redacted(detail), short_text))
    mendable = faults.mendable if kind.has_remedy else 0
    command = fix_command(data.name, "--remedy", kind.name, *data.flags) if mendable else ""
    return FaultFinding(
        kind=kind.name,
        title=kind.title,
        count=faults.rows,
        share=faults.rows / (faults.sample_rows or total),
        severity=kind.severity,
        consequence=kind.consequence,
        remedy=kind.remedy if mendable else "",
        command=command,
        safe=kind.safe and mendable > 0,
        examples=tuple(examples),
        lines={path: sorted(lines) for path, lines in faults.lines.items()},
        mendable=mendable,
        sample_rows=faults.sample_rows,
    )


MAX_ROWS_IN_PLAN = 20_000
"""First rows of a split that a plan checks: matching patterns takes about two seconds."""


def quick_faults(dataset: Dataset, spec: DataSpec, task: Task) -> tuple[DataFault, ...]:
    """The faults that a plan warns of (``in_plan``), each with its remedy."""
    rows = tuple(
        FileRow(dataset.path, split, example.line, {}, example)
        for split, examples in dataset.splits.items()
        for example in islice(examples, MAX_ROWS_IN_PLAN)
    )
    form = Form(dataset.format, dataset.columns, evidence=())
    flags = flags_of(spec, task)
    data = DataRows(dataset.path, task, rows, {dataset.path: form}, flags=flags)
    findings = check(data, [kind for kind in kinds().values() if kind.in_plan]).findings
    return tuple(
        DataFault(
            kind=finding.kind,
            rows=finding.count,
            share=finding.share,
            text=f"{plural(finding.count, 'row')} {finding.title} (line "
            f"{', '.join(str(example.line) for example in finding.examples[:3])}). "
            f"{finding.consequence.rstrip('.')}",
            action=_how_to_fix(finding),
        )
        for finding in findings
    )


def _how_to_fix(finding: FaultFinding) -> str:
    """A sentence on how to fix the fault."""
    if not finding.command:
        return "Correct these rows in the file."
    return f"To fix the file: {finding.command}{', or give --fix' if finding.safe else ''}"
