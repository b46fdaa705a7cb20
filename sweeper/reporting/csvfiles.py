"""``trials.csv`` and ``curves.csv``: every trial, every rung, for a spreadsheet or pandas.

A text that a spreadsheet would run as a formula gets a leading quote.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from sweeper.findings.findings import CurvePoint, Findings, TrialRow
from sweeper.visible import visible

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
# Fields of a trial whose columns differ from them: column to path. Those without have none here.
_OTHERWISE: dict[str, dict[str, str]] = {
    "number": {"trial": "number"},
    "failure": {"failure": "failure.kind", "failure_detail": "failure.detail"},
    "base": {"base": "base.folder"},
    **{
        name: {}
        for name in ("features", "parameters", "metrics", "seen", "validation_by_source", "curve")
    },
}
# What a reader looks for comes first.
_FIRST = ("number", "strategy", "model", "origin", "state", "validation_loss", "objective")
_PATHS = {
    column: path
    for field in dict.fromkeys((*_FIRST, *TrialRow.model_fields))
    for column, path in _OTHERWISE.get(field, {field: field}).items()
}
_OF_TRIAL = ("trial", "strategy", "state")
_OF_RUNG = tuple(CurvePoint.model_fields)


Table = tuple[Sequence[str], list[list[object]]]
"""Names of columns, and rows."""


def trials_table(findings: Findings) -> Table:
    """One row a trial; metrics and parameters have columns of their own."""
    metrics = sorted({name for trial in findings.trials for name in trial.metrics})
    parameters = sorted({name for trial in findings.trials for name in trial.parameters})
    head = [*_PATHS, *(f"metric.{m}" for m in metrics), *(f"parameter.{p}" for p in parameters)]
    rows = [
        [
            *(_cell(trial, name) for name in _PATHS),
            *(trial.metrics.get(name) for name in metrics),
            *(trial.parameters.get(name) for name in parameters),
        ]
        for trial in findings.trials
    ]
    return head, rows


def curves_table(findings: Findings) -> Table:
    """One row a rung."""
    rows: list[list[object]] = [
        [
            *(_cell(trial, name) for name in _OF_TRIAL),
            *(_cell(point, name) for name in _OF_RUNG),
        ]
        for trial in findings.trials
        for point in trial.curve
    ]
    return [*_OF_TRIAL, *_OF_RUNG], rows


def _cell(row: TrialRow | CurvePoint, column: str) -> object:
    """What a row has under a column's name; None where it is empty, or has nothing of the kind."""
    value: object = row
    for name in _PATHS.get(column, column).split("."):
        value = None if value is None else getattr(value, name)
    if isinstance(value, tuple):
        value = " | ".join(value)
    return None if value == "" else value


def csv_text(table: Table) -> str:
    """A table as the text of a file."""
    head, rows = table
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in head])
    writer.writerows([harmless(value) for value in line] for line in rows)
    return text.getvalue()


def harmless(value: object) -> object:
    """A cell; a text that begins like a formula gets a leading quote.

    Numbers have 12 significant digits: more than any loss has, and too few for rounding errors.

    >>> harmless("=1+1"), harmless(-1.5), harmless(None), harmless(1 - 0.9)
    ("'=1+1", -1.5, '', 0.1)
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if not isinstance(value, str):
        return value
    # Spreadsheets skip white space and invisible characters before a formula.
    seen = "".join(char for char in value if char.isprintable() and not char.isspace())
    text = visible(value)
    return f"'{text}" if seen.startswith(_FORMULA) else text
