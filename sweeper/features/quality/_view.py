"""Prints the faults of a data set, and the changes of remedies."""

from __future__ import annotations

from pathlib import Path

from sweeper.data.private import redacted
from sweeper.data.rows import DataRows
from sweeper.data.tools import text_with_calls
from sweeper.data.write_rows import ListedChange, changes_path, count_changes
from sweeper.features.quality._check import Checked, FaultFinding
from sweeper.features.quality._fix import Fixed
from sweeper.units import plural
from sweeper.views.console import show_line

MAX_CHANGES = 3
"""Maximum number of changes of a remedy that are shown."""


def show_check(checked: Checked) -> None:
    """Print how the data were read, every finding, and what was not checked."""
    counts = ", ".join(f"{split} {rows:,}" for split, rows in checked.rows.items())
    total = sum(checked.rows.values())
    rows = f"{plural(total, 'row')} ({counts})"
    show_line(f"{checked.name}: {rows}, {checked.format}, read for {checked.task}")
    for line in checked.evidence:
        show_line(f"  {line}")
    for line in checked.cautions:
        show_line(f"  Check this: {line}")
    for finding in checked.findings:
        _show(finding, names_files=len(checked.rows) > 1)
    if not checked.findings:
        show_line("\nNo fault was found.")
    elif safe := [fault.kind for fault in checked.findings if fault.safe]:
        show_line(f"\nAll safe remedies ({', '.join(safe)}):")
        show_line(f"  {checked.mend_all}")
    for kind, why in checked.unchecked.items():
        show_line(f"Not checked: {kind}; {why}")


def show_example(data: DataRows) -> None:
    """Print the first row that can be trained on, with « » around the answers."""
    row, example = next((row, row.example) for row in data.rows if row.example is not None)
    show_line(f"\nLine {row.line} as an example, with «what is learnt»:")
    if not example.messages:
        label = "" if example.label is None else f" «{example.label}»"
        show_line(f"  {redacted(example.text)}{label}")
    for turn in example.messages:
        text, learnt = redacted(text_with_calls(turn)), turn.role == "assistant" and turn.trained
        show_line(f"  {turn.role}: {f'«{text}»' if learnt else text}")


def _show(finding: FaultFinding, *, names_files: bool) -> None:
    show_line(f"\n{finding.severity}: {finding.kind}")
    sample = f" of a sample of {finding.sample_rows:,}" if finding.sample_rows else ""
    rows = f"{finding.count:,}{sample} ({finding.share:.1%})"
    show_line(f"  Rows that {finding.title}: {rows}. {finding.consequence}")
    for example in finding.examples:
        where = (
            f"{Path(example.path).name}:{example.line}" if names_files else f"line {example.line}"
        )
        detail = f" ({example.detail})" if example.detail else ""
        show_line(f"    {where}{detail}: {example.text}")
    if finding.command:
        mendable = f" (of {finding.mendable:,} rows)" if finding.mendable < finding.count else ""
        show_line(f"  Remedy{mendable}: {finding.remedy}.")
        show_line(f"    {finding.command}")


def show_changes(fixed: Fixed, before: DataRows, output: Path | None) -> None:
    """Print the changes of each remedy, with its first rows, and the new data set's path."""
    counts = count_changes(fixed.changes)
    for (remedy, action), rows in counts.items():
        outcome = "left out" if action == "removed" else action
        if not output:
            outcome = "would be left out" if action == "removed" else "would be changed"
        show_line(f"{remedy}: {plural(rows, 'row')} {outcome}")
        remedy_changes = [c for c in fixed.changes if (c.remedy, c.action) == (remedy, action)]
        for change in remedy_changes[:MAX_CHANGES]:
            where = f"{Path(change.path).name}:{change.line}"
            show_line(f"    {where} ({change.why}){_difference(change)}")
    if not counts:
        show_line("Nothing to change.")
    show_line(f"{plural(len(before.rows), 'row')} before, {len(fixed.data.rows):,} after")
    if output is not None:
        show_line(f"Written: {output}; every change: {changes_path(output)}")


def _difference(change: ListedChange) -> str:
    if change.action == "removed":
        return f": {_short(change.before['unreadable'])}" if change.remedy == "unreadable" else ""
    name = next(iter(change.after))
    return f": {_short(change.before[name])} becomes {_short(change.after[name])}"


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:28]} ... {text[-28:]}"
