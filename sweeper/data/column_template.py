"""Columns that are built from others by a template, such as ``{code}\\n\\nInput: {input}``.

A template may replace a column's name wherever the column of a role is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sweeper.data.formats.row_format import parsed_cell, text_of
from sweeper.data.problems import listing, raise_any
from sweeper.data.table import Fields, RowTable, map_rows
from sweeper.errors import Problem, near_match

_PLACEHOLDER = re.compile(r"\{([^{}\n]+)\}")


def placeholders(column: str) -> list[str]:
    """The columns that a template names; empty for a plain column name.

    >>> placeholders("{code} {input}"), placeholders("code")
    (['code', 'input'], [])
    """
    return _PLACEHOLDER.findall(column)


def with_templates(table: RowTable, columns: Mapping[str, str]) -> RowTable:
    """The table with a column for each template in ``columns``.

    Columns that only templates use are removed.

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
    placeholder_names = dict.fromkeys(name for column in templates for name in placeholders(column))
    inputs = {name if name in present else name.partition(".")[0] for name in placeholder_names}
    inputs -= set(columns.values())
    rows = map_rows(
        table.rows,
        lambda line, fields: (line, _fill_templates(fields, templates, inputs)),
        f"filling templates of {table.name}",
    )
    column_names = dict.fromkeys([*(name for name in present if name not in inputs), *templates])
    cautions = [*table.cautions, *_empty_cell_cautions(table, placeholder_names)]
    return replace(table, rows=rows, cautions=cautions, named=column_names)


def _fill_templates(fields: Fields, templates: list[str], inputs: set[str]) -> dict[str, object]:
    texts = {template: fill_template(fields, template) for template in templates}
    return {name: cell for name, cell in fields.items() if name not in inputs} | texts


def fill_template(fields: Fields, template: str) -> str:
    """The template filled with a row's cells; empty if all cells that it names are empty."""
    cell_texts = {name: text_of(_cell(fields, name)) for name in placeholders(template)}
    if not any(text.strip() for text in cell_texts.values()):
        return ""
    return _PLACEHOLDER.sub(lambda match: cell_texts[match[1]], template).strip()


def _cell(fields: Fields, name: str) -> object:
    """A cell, or for ``column.key`` the value under that key in a cell that holds an object."""
    column, _, key = name.partition(".")
    if name in fields or not key:
        return fields.get(name)
    parsed = parsed_cell(fields.get(column))
    return parsed.get(key) if isinstance(parsed, Mapping) else None


def _empty_cell_cautions(table: RowTable, columns: Iterable[str]) -> list[str]:
    cautions = []
    for name in columns:
        lines = [n for n, fields in table.rows if not text_of(_cell(fields, name)).strip()]
        if lines:
            cautions.append(
                f"`{name}`, which a template uses, is empty in {len(lines):,} of "
                f"{len(table.rows):,} rows (line {listing([*map(str, lines)], 3)})"
            )
    return cautions
