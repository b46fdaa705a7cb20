"""Rows that training leaves out: unreadable, of no known form, or empty."""

from __future__ import annotations

from sweeper.data.detect_columns import Form
from sweeper.data.rows import FileRow
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import FaultKind


class Unreadable(FaultKind):
    """Broken JSON, or more cells than columns."""

    name = "unreadable"
    order = 0
    title = "cannot be read"
    consequence = "They are left out of training."
    remedy = "leaves them out; if they matter, repair them in the original"
    safe = True
    compares = "nothing"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return None if row.readable else row.reason


class OtherForm(FaultKind):
    """Rows that can be read but not be trained on."""

    name = "form"
    order = 5
    title = "have no input and answer that can be recognised"
    consequence = "They are left out of training: no input and answer is recognised in them."
    remedy = "leaves them out"
    compares = "nothing"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return row.reason if row.readable and not (row.example or row.empty) else None


class EmptyRows(FaultKind):
    """Rows whose input or answer is empty or white space."""

    name = "empty"
    order = 30
    title = "have no text or no answer"
    consequence = "They are left out of training. Many of them mean that an export went wrong."
    remedy = "leaves them out"
    safe = True
    compares = "nothing"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return _empty_cells(data.forms.get(row.path), row) if row.empty else None


def _empty_cells(form: Form | None, row: FileRow) -> str:
    """The empty columns of input and answer, in words; "" if they are not known."""
    columns = [] if form is None else [c for role, c in form.columns.items() if role != "input"]
    empty = [f"`{c}`" for c in columns if not str(row.fields.get(c) or "").strip()]
    return f"{' and '.join(empty)} {'are' if len(empty) > 1 else 'is'} empty" if empty else ""
