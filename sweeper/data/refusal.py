"""What is said when a table cannot be used: preferences, another task's data, unknown columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper.data import column_names
from sweeper.data.column_names import Role
from sweeper.data.examples import DataFormat
from sweeper.data.problems import listing
from sweeper.data.row_formats import WANTED, Shape
from sweeper.data.table import Fields, Table
from sweeper.errors import DataError
from sweeper.spec import Task

_NEEDS: dict[Task, str] = {
    "classification": "a text and a label",
    "instruction": "an instruction or prompt with its answer, or a conversation",
    "code": "a prompt with its code, or a conversation",
    "domain": "a text, an instruction or prompt with its answer, or a conversation",
}
_EXAMPLE: dict[Task, str] = {
    "classification": "columns: {text: COLUMN, label: COLUMN}",
    "instruction": "columns: {prompt: COLUMN, completion: COLUMN}",
    "code": "columns: {prompt: COLUMN, completion: COLUMN}",
    "domain": "columns: {text: COLUMN}",
}


def refuse_preferences(table: Table, sample: Sequence[Fields]) -> None:
    """Refuse data that ranks answers instead of giving one.

    Raises:
        DataError: The table holds preference data.
    """
    columns = {column.lower(): column for column in table.columns}
    if set(column_names.PREFERENCE) <= columns.keys():
        what, fix = "preference pairs (`chosen` and `rejected`)", "Train on the chosen answers: "
        fix += "data.columns: {prompt: prompt, completion: chosen}, or {messages: chosen}."
    elif found := [column for column in column_names.UNPAIRED_PREFERENCE if column in columns]:
        what, fix = f"ratings of answers (`{found[0]}`)", "Keep the rows that were rated good."
    elif {"completion", "label"} <= columns.keys() and all(
        isinstance(fields.get(columns["label"]), bool) for fields in sample
    ):
        what, fix = "rated answers (`completion` with a true or false `label`)", ""
        fix = "Keep the rows rated true, and drop the column `label`."
    elif {"completions", "labels"} <= columns.keys():
        what, fix = "stepwise ratings (`completions` and `labels`)", "Use data with one answer."
    else:
        return
    raise DataError(
        f"this is preference data: {what}",
        why="Every strategy here learns from one right answer a row, not from comparisons.",
        fix=fix,
        where=table.name,
    )


def unrecognised(
    table: Table,
    sample: Sequence[Fields],
    task: Task,
    stated: DataFormat | None,
    shares: Sequence[tuple[float, Shape, Mapping[Role, str]]],
) -> DataError:
    """Why no shape fits: the columns, the nearest shape, and what to write in the spec."""
    columns = [f"`{column}` ({_kind(sample, column)})" for column in table.columns]
    wanted = (stated,) if stated else WANTED[task]
    why = f"The task {task} needs {_NEEDS[task]}." if not stated else ""
    why = " ".join(part for part in (why, _nearest(shares, wanted), _lists(sample, task)) if part)
    return DataError(
        f"the form of the data was not recognised; its columns are {listing(columns, 12)}",
        why=why or f"They do not have the form {stated}.",
        fix=f"Say what the columns are, in sweep.yaml under data: {_EXAMPLE[task]}.",
        where=table.name,
    )


def _nearest(
    shares: Sequence[tuple[float, Shape, Mapping[Role, str]]], wanted: Sequence[DataFormat]
) -> str:
    fitting = [entry for entry in shares if entry[0] >= 0.5]
    if not fitting:
        return ""
    share, shape, columns = max(fitting, key=lambda entry: entry[0])
    names_ = " and ".join(f"`{columns[role]}`" for role in shape.required)
    if shape.format not in wanted:
        return f"It looks like {shape.format} data ({names_}), which suits another task."
    if shape.format == "text":
        return f"{names_} is plain text: nothing in it says where an answer begins."
    return f"Only {share:.0%} of the rows have {names_} as {shape.format} data has them."


def _lists(sample: Sequence[Fields], task: Task) -> str:
    if task != "classification":
        return ""
    for name in column_names.LABEL:
        cells = [fields[name] for fields in sample if fields.get(name) is not None]
        if cells and all(isinstance(cell, list) for cell in cells):
            return f"`{name}` holds lists: several labels a row (multi-label) are not supported."
        if cells and any(isinstance(cell, float) and not cell.is_integer() for cell in cells):
            return f"`{name}` holds fractions: that is a score to predict, not a class."
    return ""


def _kind(sample: Sequence[Fields], column: str) -> str:
    kinds = {type(fields[column]) for fields in sample if fields.get(column) is not None}
    words = {str: "text", bool: "true/false", int: "whole number", float: "number", list: "list"}
    return " or ".join(sorted(words.get(kind, "object") for kind in kinds)) or "empty"
