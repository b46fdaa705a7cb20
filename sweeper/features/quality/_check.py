"""Checks a data set for all kinds of faults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice

from sweeper.data.detect_columns import Form
from sweeper.data.examples import DataFault, Dataset
from sweeper.data.private import redacted
from sweeper.data.problems import flags_of
from sweeper.data.rows import DataRows, FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix_command
from sweeper.features.quality._kinds.base import FaultKind, Severity, kinds
from sweeper.features.quality._passes import FaultsOfKind, find_all
from sweeper.spec import DataSpec, Task
from sweeper.units import plural

_MAX_CHARACTERS = 80


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
        share: Share of the checked rows, 0 to 1.
        consequence: Effect of the fault on training or scores.
        remedy: What ``command`` does; empty if there is no command.
        command: Shell command that fixes rows; empty if none can be fixed.
        safe: Whether the remedy is part of ``--all-safe``.
        lines: Line numbers of all rows with the fault, by file.
        mendable: Rows that the command changes or leaves out.
        looked_at: Rows of the sample; 0 if all rows were checked.
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
    looked_at: int = 0


@dataclass(frozen=True)
class Checked:
    """The result of a check of a data set.

    Args:
        task: The task that the rows were read for.
        rows: Rows by split.
        evidence: How the data were read, in words.
        cautions: Doubts about the reading, which the user should check.
        findings: The faults, the most severe first.
        not_looked_for: Reasons why kinds could not be checked, by kind.
        mend_all: The command that applies every safe remedy; empty if there is none.
    """

    name: str
    task: str
    rows: dict[str, int]
    format: str
    evidence: tuple[str, ...]
    cautions: tuple[str, ...]
    findings: tuple[FaultFinding, ...]
    not_looked_for: dict[str, str]
    mend_all: str

    @property
    def serious(self) -> tuple[FaultFinding, ...]:
        """The findings that make scores or a model untrustworthy."""
        return tuple(finding for finding in self.findings if finding.severity == "serious")

    def as_json(self) -> dict[str, object]:
        return asdict(self)


_SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


def check(data: DataRows, wanted: Iterable[FaultKind] | None = None) -> Checked:
    """Look for the wanted kinds of faults; by default, without alternatives to other kinds."""
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
        not_looked_for={
            name: finding.missing for name, finding in by_kind.items() if finding.missing
        },
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
        share=faults.rows / (faults.looked_at or total),
        severity=kind.severity,
        consequence=kind.consequence,
        remedy=kind.remedy if mendable else "",
        command=command,
        safe=kind.safe and mendable > 0,
        examples=tuple(examples),
        lines={path: sorted(lines) for path, lines in faults.lines.items()},
        mendable=mendable,
        looked_at=faults.looked_at,
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
    form = Form(dataset.format, dataset.columns, ())
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
            action=_repair(finding),
        )
        for finding in findings
    )


def _repair(finding: FaultFinding) -> str:
    """A sentence on how to remove the fault."""
    if not finding.command:
        return "Correct these rows in the file."
    return f"To repair the file: {finding.command}{', or give --fix' if finding.safe else ''}"
