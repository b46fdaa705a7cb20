"""Rows that training leaves out or reads in part, such as unreadable and empty ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sweeper.data.formats.row_format import Form, formats
from sweeper.data.formats.turns import role_of, turns_of
from sweeper.data.problems import listing
from sweeper.data.rows import FileRow
from sweeper.data.table import Fields
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._kinds.base import Fault, FaultKind


class Unreadable(FaultKind):
    """Broken JSON, or more cells than columns."""

    name = "unreadable"
    order = 0
    title = "cannot be read"
    consequence = "They are left out of training."
    remedy = "leave them out; if they matter, repair them in the original"
    safe = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return None if row.readable else row.reason


class Unrecognised(FaultKind):
    """Rows with text that can be read but not be trained on."""

    name = "form"
    order = 5
    title = "have no input and answer that can be recognised"
    consequence = "They are left out of training: no input and answer is recognised in them."
    remedy = "leave them out"
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return row.reason if row.readable and not (row.example or row.empty) else None


class EmptyRows(FaultKind):
    """Rows whose input or answer is empty or white space."""

    name = "empty"
    order = 30
    title = "have no text or no answer"
    consequence = "They are left out of training. Many of them mean that an export went wrong."
    remedy = "leave them out"
    safe = True
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        return _empty_cells(data.forms.get(row.path), row) if row.empty else None


def _empty_cells(form: Form | None, row: FileRow) -> str:
    """The empty columns with a role other than ``input``, which may be empty, in words."""
    columns = [] if form is None else [c for role, c in form.columns.items() if role != "input"]
    empty = [f"`{c}`" for c in columns if not str(row.fields.get(c) or "").strip()]
    return f"{' and '.join(empty)} {'are' if len(empty) > 1 else 'is'} empty" if empty else ""


class LastTurn(FaultKind):
    """Conversations that do not end with a turn of the assistant."""

    name = "last-turn"
    order = 6
    title = "do not end with a turn of the assistant"
    consequence = (
        "Training cuts off what follows the last answer. If turns are missing, or roles are "
        "exchanged, the rest of the conversation is wrong, too."
    )
    remedy = "cut off what follows the last answer"
    needs = "single rows"

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        for turns in _turns(data, row).values() if row.example else ():
            if (role := role_of(turns[-1])) != "assistant":
                return f"the role of the last turn is {role}"
        return None

    def mended_row(self, data: CheckedRows, row: FileRow) -> FileRow:
        fields = dict(row.fields)
        for column, turns in _turns(data, row).items():
            while role_of(turns[-1]) != "assistant":
                turns.pop()
            fields[column] = turns
        return data.with_fields(row, fields)


def _turns(data: CheckedRows, row: FileRow) -> dict[str, list[Mapping[str, object]]]:
    """The turns of a conversation, by column; empty if there are none."""
    column = data.forms[row.path].of(row.fields).columns.get("messages", "")
    turns = turns_of(row.fields.get(column))
    return {column: [*turns]} if turns else {}


class TwoFormats(FaultKind):
    """Rows that have all columns of two formats, such as `messages` and `prompt`/`completion`."""

    name = "two-formats"
    order = 7
    title = "hold a question and an answer in two formats"
    consequence = (
        "Only one of them is read. If they differ, the other one may be the one that is meant: "
        "then name its columns with --column."
    )
    remedy = "empty the columns that are not read"
    needs = "single rows"

    def find(self, data: CheckedRows) -> list[Fault]:
        forms: dict[tuple[str, tuple[str, ...]], list[Form]] = {}
        faults = []
        for index, row, _ in data.usable:
            columns = (row.path, tuple(row.fields))
            if columns not in forms:
                forms[columns] = _other_forms(data, row)
            unread_columns = _unread_columns(forms[columns], row.fields)
            if unread_columns:
                names = listing(unread_columns, form="`{}`")
                faults.append(Fault(index, f"not read: {names}"))
        return faults

    def mended_row(self, data: CheckedRows, row: FileRow) -> FileRow:
        empty = dict.fromkeys(_unread_columns(_other_forms(data, row), row.fields))
        return data.with_fields(row, {**row.fields, **empty})


_ANSWER_FORMATS = ("messages", "instruction", "prompt-completion", "translation")
"""Formats with a question and an answer. A column `text` often repeats both on purpose."""


def _other_forms(data: CheckedRows, row: FileRow) -> list[Form]:
    """The forms of other answer formats, in columns that the row's own form does not read."""
    own_form = data.forms[row.path].of(row.fields)
    if own_form.format not in _ANSWER_FORMATS:
        return []
    present = {name.lower(): name for name in row.fields if name not in own_form.columns.values()}
    forms = [
        Form(row_format.name, shape.columns(present, user_columns={}), evidence=())
        for row_format in formats().values()
        if row_format.name in _ANSWER_FORMATS and row_format.name != own_form.format
        for shape in row_format.shapes
    ]
    return [replace(form, columns=_needed_columns(form)) for form in forms if form.columns]


def _needed_columns(form: Form) -> dict[str, str]:
    return {role: column for role, column in form.columns.items() if column in form.needed}


def _unread_columns(forms: list[Form], fields: Fields) -> list[str]:
    """The columns of the first form that the row has completely; empty if there is none."""
    return next(([*form.columns.values()] for form in forms if form.matches(fields)), [])
