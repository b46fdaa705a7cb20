"""``trials.csv`` and ``curves.csv``: all trials and all rungs, for a spreadsheet or pandas.

A text that a spreadsheet would run as a formula gets a leading quote.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import loss_note, memory_note
from sweeper.safe_text import visible
from sweeper.trials import RungReport, Trial, TrialResult

# First characters of a formula in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
# Columns of trials.csv and the paths of their values in a ``Trial``, the most important ones first.
_FIRST_PATHS = {
    "trial": "config.number",
    **{name: f"config.{name}" for name in ("strategy", "model", "origin")},
    **{name: f"result.{name}" for name in ("state", "validation_loss", "objective")},
    **{name: name for name in ("seconds", "attempts", "ended_attempts")},
    "failure": "result.failure.kind",
    "failure_detail": "result.failure.detail",
    "base": "result.base.folder",
}
# Fields of a result without a column of their own: mappings, and those in ``_FIRST_PATHS``.
_EXCLUDED_FIELDS = {
    "schema_version", "number", "features", "metrics", "measures", "seen", "notes", "versions",
    "feature_seconds", "validation_by_source", *_FIRST_PATHS,
}  # fmt: skip
_PATHS = _FIRST_PATHS | {
    name: f"result.{name}" for name in TrialResult.model_fields if name not in _EXCLUDED_FIELDS
}
# Columns of curves.csv: of the trial, then of the rung.
_TRIAL_COLUMNS = ("trial", "strategy", "state")
_RUNG_COLUMNS = (
    "rung", "optimizer_steps", "tokens", "epochs", "validation_loss", "train_loss", "seconds",
)  # fmt: skip

Table = tuple[Sequence[str], list[list[object]]]
"""Column names and rows."""


def trials_table(findings: Findings) -> Table:
    """A row for each trial; each metric and parameter has a column."""
    metrics = sorted({name for trial in findings.trials for name in trial.result.metrics})
    parameters = sorted({name for trial in findings.trials for name in trial.config.parameters})
    head = [*_PATHS, "loss_note", "memory_note"]
    head += [*(f"metric.{m}" for m in metrics), *(f"parameter.{p}" for p in parameters)]
    rows = [
        [
            *(_cell(trial, path) for path in _PATHS.values()),
            *(note(trial) or None for note in (loss_note, memory_note)),
            *(trial.result.metrics.get(name) for name in metrics),
            *(trial.config.parameters.get(name) for name in parameters),
        ]
        for trial in findings.trials
    ]
    return head, rows


def curves_table(findings: Findings) -> Table:
    """A row for each rung."""
    rows: list[list[object]] = [
        [
            *(_cell(trial, _PATHS[name]) for name in _TRIAL_COLUMNS),
            *(_cell(point, name) for name in _RUNG_COLUMNS),
        ]
        for trial in findings.trials
        for point in trial.rungs
    ]
    return [*_TRIAL_COLUMNS, *_RUNG_COLUMNS], rows


def _cell(row: Trial | RungReport, path: str) -> object:
    """The value at a path of attributes; None if it is empty or missing."""
    value: object = row
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    if isinstance(value, tuple):
        value = " | ".join(value)
    return None if value == "" else value


def csv_text(table: Table) -> str:
    """A table as CSV."""
    head, rows = table
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([harmless(name) for name in head])
    writer.writerows([harmless(value) for value in line] for line in rows)
    return text.getvalue()


def harmless(value: object) -> object:
    """A value for a CSV cell; a text that begins like a formula gets a leading quote.

    Numbers have 12 significant digits, which hides rounding errors.

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
    printable_text = "".join(char for char in value if char.isprintable() and not char.isspace())
    text = visible(value)
    return f"'{text}" if printable_text.startswith(_FORMULA) else text
