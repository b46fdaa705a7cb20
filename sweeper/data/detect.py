"""Recognises what the columns of a table mean, and says why. Never a silent guess.

A shape must hold in at least 95% of the rows looked at. What the user states wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sweeper.data import column_names
from sweeper.data.column_names import ROLES, Role
from sweeper.data.examples import DataFormat
from sweeper.data.problems import Problems
from sweeper.data.refusal import refuse_preferences, unrecognised
from sweeper.data.row_formats import FORMATS, SHAPES, WANTED, Shape
from sweeper.data.table import Fields, Table
from sweeper.data.values import accepts, is_templated, text_of
from sweeper.errors import near_match
from sweeper.spec import DataSpec, Task

SAMPLE_ROWS = 500
"""Rows that are looked at, evenly spread; the practice of loaders is about a hundred."""

AGREEMENT = 0.95
"""Share of those rows that must have the shape."""


@dataclass(frozen=True)
class Form:
    """What the columns mean."""

    format: DataFormat
    columns: dict[Role, str]
    evidence: tuple[str, ...]
    templated: bool = False


def detect(table: Table, task: Task, spec: DataSpec) -> Form:
    """The form of a table's rows.

    Raises:
        DataError: No shape fits, the data suits another task, or the user's columns do not exist.
    """
    fixed = stated_columns(table, spec)
    stated = stated_format(spec, fixed, task, table.name)
    sample = list(table.sample(SAMPLE_ROWS))
    if stated is None:
        refuse_preferences(table, sample)
    wanted = (stated,) if stated else WANTED[task]
    shares: list[tuple[float, Shape, dict[Role, str]]] = []
    for shape, columns in _candidates(table, sample, fixed):
        share = _share(sample, shape, columns)
        if shape.format in wanted and share >= AGREEMENT:
            form = _form(shape, columns, sample, fixed, bool(stated), share)
            if task == "domain" or form.format != "text" or form.templated or stated:
                return form
        shares.append((share, shape, columns))
    raise unrecognised(table, sample, task, stated, shares)


def _candidates(
    table: Table, sample: Sequence[Fields], fixed: Mapping[Role, str]
) -> list[tuple[Shape, dict[Role, str]]]:
    present = {column.lower(): column for column in reversed(table.columns)}
    found = [(shape, shape.columns(present, fixed)) for shape in SHAPES]
    found = [pair for pair in found if pair[1] and set(fixed) <= set(pair[1])]
    if any(shape.format == "text-label" for shape, _ in found):
        return found
    return [*found, *_label_and_only_text(sample, present, fixed)]


def _label_and_only_text(
    sample: Sequence[Fields], present: Mapping[str, str], fixed: Mapping[Role, str]
) -> list[tuple[Shape, dict[Role, str]]]:
    """A label by its name, beside the only other column that holds text under a name of its own."""
    label = fixed.get("label") or next(
        (
            present[name]
            for name in (*column_names.LABEL_TEXT, *column_names.LABEL)
            if name in present
        ),
        None,
    )
    others = [
        column for column in present.values() if column != label and _is_prose(sample, column)
    ]
    text = fixed.get("text") or (others[0] if len(others) == 1 else None)
    if label is None or text is None:
        return []
    shape = Shape("text-label", {"text": (text,), "label": (label,)})
    columns: dict[Role, str] = {"text": text, "label": label}
    return [(shape, columns)] if set(fixed) <= set(columns) else []


def _is_prose(sample: Sequence[Fields], column: str) -> bool:
    """Mostly strings with more than one word."""
    cells = [fields.get(column) for fields in sample]
    return sum(isinstance(cell, str) and " " in cell.strip() for cell in cells) > len(cells) / 2


def _share(sample: Sequence[Fields], shape: Shape, columns: Mapping[Role, str]) -> float:
    """Share of rows in which every required role has a value of its kind (or none at all)."""
    required = [(role, columns[role]) for role in shape.required]
    fitting = sum(
        all(
            column in fields and (fields[column] is None or accepts(role, fields[column]))
            for role, column in required
        )
        for fields in sample
    )
    return fitting / len(sample)


def _form(
    shape: Shape,
    columns: dict[Role, str],
    sample: Sequence[Fields],
    fixed: Mapping[Role, str],
    format_stated: bool,
    share: float,
) -> Form:
    kept = {
        role: column
        for role, column in columns.items()
        if role in shape.required or _is_used(role, column, sample)
    }
    roles = ", ".join(
        f"`{column}` is the {role.replace('_', ' ')}" for role, column in kept.items()
    )
    evidence = [f"{roles} ({share:.0%} of the {len(sample)} rows looked at agree)"]
    if fixed:
        evidence.append(f"named by you: {', '.join(fixed.values())}")
    if format_stated and not fixed:
        evidence.append(f"the format {shape.format} was stated by you")
    templated = shape.format == "text" and _mostly_templated(sample, columns["text"])
    if templated:
        evidence.append("the text already holds chat markers, so no template is applied")
    return Form(shape.format, kept, tuple(evidence), templated)


def _is_used(role: Role, column: str, sample: Sequence[Fields]) -> bool:
    """Whether some row has a value that the role can take."""
    return any(fields.get(column) and accepts(role, fields[column]) for fields in sample)


def _mostly_templated(sample: Sequence[Fields], column: str) -> bool:
    marked = sum(is_templated(text_of(fields.get(column))) for fields in sample)
    return marked >= AGREEMENT * len(sample)


def stated_columns(table: Table, spec: DataSpec) -> dict[Role, str]:
    """The user's map of roles to columns, checked against the table.

    Raises:
        DataError: A role or a column does not exist.
    """
    problems = Problems()
    present = table.columns
    for role, column in spec.columns.items():
        if role not in ROLES:
            problems.add(
                f"{role!r} is not a role that a column can play",
                fix=near_match(role, ROLES),
                where="data.columns",
            )
        if column not in present:
            problems.add(
                f"there is no column {column!r} (for {role})",
                fix=near_match(column, present),
                where=table.name,
            )
    problems.raise_any()
    return {cast(Role, role): column for role, column in spec.columns.items()}


def stated_format(
    spec: DataSpec, fixed: Mapping[Role, str], task: Task, where: str
) -> DataFormat | None:
    """The format that the user stated, by name or through the roles of the columns.

    Raises:
        DataError: There is no format of that name, or the task cannot be trained on it.
    """
    problems = Problems()
    if spec.format != "auto" and spec.format not in FORMATS:
        problems.add(
            f"{spec.format!r} is not a data format",
            fix=near_match(spec.format, ["auto", *FORMATS]),
            where="data.format",
        )
    stated = FORMATS.get(spec.format) or _format_of_roles(fixed, task)
    if stated is not None and stated not in WANTED[task]:
        problems.add(
            f"{stated} data is stated, but the task {task} needs {' or '.join(WANTED[task])}",
            fix="Change the task, or what is stated under data: format and columns.",
            where=where,
        )
    problems.raise_any()
    return stated


def _format_of_roles(fixed: Mapping[Role, str], task: Task) -> DataFormat | None:
    if "messages" in fixed:
        return "messages"
    if fixed.keys() & {"instruction", "output", "input"}:
        return "instruction"
    if fixed.keys() & {"prompt", "completion"}:
        return "prompt-completion"
    if "label" in fixed or ("text" in fixed and task == "classification"):
        return "text-label"
    return "text" if "text" in fixed else None
