"""Columns that are built from others by a template, as ``{code}\\n\\nInput: {input}``.

A role's column may be such a template wherever a column's name may stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sweeper.data.formats.row_format import parsed, text_of
from sweeper.data.problems import listing, raise_any
from sweeper.data.table import Fields, RowTable, mapped
from sweeper.errors import Problem, near_match

_PLACE = re.compile(r"\{([^{}\n]+)\}")


def placeholders(column: str) -> list[str]:
    """The columns that a template names; none where it is the name of a column.

    >>> placeholders("{code} {input}"), placeholders("code")
    (['code', 'input'], [])
    """
    return _PLACE.findall(column)


def with_templates(table: RowTable, columns: Mapping[str, str]) -> RowTable:
    """The table with a column for each template among ``columns``, in place of those it is made of.

    Raises:
        DataError: A template names a column that does not exist.
    """
    present = table.columns
    templates = [
        column for column in columns.values() if column not in present and placeholders(column)
    ]
    if not templates:
        return table
    raise_any(
        [
            Problem(
                f"there is no column {name!r} for the template {template!r}",
                fix=near_match(name, present),
                where=table.name,
            )
            for template in templates
            for name in placeholders(template)
            if name not in present and name.partition(".")[0] not in present
        ]
    )
    named = dict.fromkeys(name for column in templates for name in placeholders(column))
    used = {name if name in present else name.partition(".")[0] for name in named}
    used -= set(columns.values())
    rows = mapped(
        table.rows,
        lambda line, fields: (line, _filled(fields, templates, used)),
        f"filling templates of {table.name}",
    )
    kept = dict.fromkeys([*(name for name in present if name not in used), *templates])
    cautions = [*table.cautions, *_gaps(table, named)]
    return replace(table, rows=rows, cautions=cautions, named=kept)


def _filled(fields: Fields, templates: list[str], used: set[str]) -> dict[str, object]:
    made = {template: text_by(fields, template) for template in templates}
    return {name: cell for name, cell in fields.items() if name not in used} | made


def text_by(fields: Fields, template: str) -> str:
    """The text of a row by a template; empty where all that it names is empty."""
    given = {name: text_of(_cell(fields, name)) for name in placeholders(template)}
    if not any(text.strip() for text in given.values()):
        return ""
    return _PLACE.sub(lambda match: given[match[1]], template).strip()


def _cell(fields: Fields, name: str) -> object:
    """A cell, or with ``column.key`` a part of one that holds an object."""
    column, _, key = name.partition(".")
    if name in fields or not key:
        return fields.get(name)
    inside = parsed(fields.get(column))
    return inside.get(key) if isinstance(inside, Mapping) else None


def _gaps(table: RowTable, named: Iterable[str]) -> list[str]:
    gaps = []
    for name in named:
        lines = [n for n, fields in table.rows if not text_of(_cell(fields, name)).strip()]
        if lines:
            gaps.append(
                f"`{name}`, which a template uses, is empty in {len(lines):,} of "
                f"{len(table.rows):,} rows (line {listing([*map(str, lines)], 3)})"
            )
    return gaps
