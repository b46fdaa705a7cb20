"""The page of ``sweeper data check --html`` with every fault of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import sweeper
from sweeper.features.quality._check import Checked, ExampleOfFault, FaultFinding
from sweeper.reporting.blocks import (
    Block,
    Bullets,
    Code,
    Column,
    Number,
    Page,
    Section,
    Table,
    Text,
    with_json_pointers,
)
from sweeper.reporting.render import render


def data_page(checked: Checked) -> str:
    """The page as self-contained HTML."""
    return render(
        Page(
            title=f"{Path(checked.name).name}: sweeper data check",
            name=Path(checked.name).name,
            verdict=checked.findings[0].severity if checked.findings else "clean",
            head=tuple(_facts(checked)),
            sections=tuple(_sections(checked)),
            sweeper_version=sweeper.__version__,
            footer=f"Data: {checked.name}.",
        )
    )


def _facts(checked: Checked) -> Iterator[str]:
    rows = ", ".join(f"{split} {count:,}" for split, count in checked.rows.items())
    yield f"{sum(checked.rows.values()):,} rows ({rows})"
    yield f"format {checked.format}"
    yield f"read for {checked.task}"


def _sections(checked: Checked) -> Iterator[Section]:
    yield Section("summary", "What is wrong with the data", tuple(_summary(checked)))
    for fault in checked.findings:
        line = f"{fault.severity}, rows that {fault.title}: {fault.count:,} ({_share(fault)})"
        yield Section(fault.kind, fault.kind, tuple(_details(fault)), line)
    bullets = [Bullets((*checked.evidence, *checked.cautions), "How the data were read")]
    unchecked = tuple(f"{kind}: {why}" for kind, why in checked.unchecked.items())
    if unchecked:
        bullets.append(Bullets(unchecked, "What was not looked for"))
    yield Section("read", "What this is based on", tuple(bullets))


def _summary(checked: Checked) -> Iterator[Block]:
    if not checked.findings:
        yield Text(("No fault was found.",))
        return
    columns: list[Column[FaultFinding]] = [
        Column("kind", lambda finding: finding.kind),
        Column("severity", lambda finding: finding.severity),
        Number("rows", lambda finding: f"{finding.count:,}"),
        Number("share", _share),
        Column("rows that ...", lambda finding: finding.title),
    ]
    caption = "Kinds of faults, the most serious first"
    yield Table.of("faults", caption, columns, with_json_pointers(checked.findings))
    if any(finding.safe for finding in checked.findings):
        yield Code("Apply all safe remedies", checked.mend_all)


def _details(finding: FaultFinding) -> Iterator[Block]:
    yield Text((finding.consequence,))
    columns: list[Column[ExampleOfFault]] = [
        Column("line", lambda e: f"{Path(e.path).name}:{e.line}"),
        Column("what is wrong there", lambda e: e.detail),
        Column("text", lambda e: e.text),
    ]
    yield Table.of(
        f"{finding.kind}-rows", "The first rows", columns, with_json_pointers(finding.examples)
    )
    lines = tuple(
        f"{Path(path).name}: {ranges(numbers)}" for path, numbers in finding.lines.items()
    )
    yield Bullets(lines, "Lines of all rows")
    if finding.command:
        yield Code(f"Remedy: {finding.remedy}", finding.command)


def ranges(lines: Sequence[int]) -> str:
    """Ascending numbers as text, with a hyphen for a run.

    >>> ranges([1, 2, 3, 7, 9, 10])
    '1-3, 7, 9, 10'
    """
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][-1] + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def _share(finding: FaultFinding) -> str:
    return f"{finding.share:.1%}"
