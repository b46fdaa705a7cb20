"""Rows to examples, and what had to be left out on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.data.detect import Form
from sweeper.data.encoding import is_garbled
from sweeper.data.examples import Example
from sweeper.data.formats.base import AGREEMENT, Empty, Row, Unusable, formats
from sweeper.data.problems import listing
from sweeper.data.table import Table
from sweeper.errors import DataError


@dataclass(frozen=True)
class Examples:
    """The examples of one table, and how many rows did not become one."""

    kept: list[Example]
    empties: int = 0
    skipped: Mapping[str, list[int]] = field(default_factory=dict)
    garbled: int = 0


def examples(table: Table, form: Form) -> Examples:
    """The examples of a table.

    Raises:
        DataError: More rows than recognition tolerates do not have the form.
    """
    row_format = formats()[form.format]
    label_names = table.label_names.get(form.columns.get("label", ""), ())
    kept: list[Example] = []
    empties = 0
    skipped: dict[str, list[int]] = {}
    for line, fields in table.rows:
        try:
            row = Row(row_format, line, fields, form.columns, label_names, form.templated)
            kept.append(row_format.example(row))
        except Empty:
            empties += 1
        except Unusable as reason:
            skipped.setdefault(str(reason), []).append(line)
    _refuse_many_skipped(table, skipped)
    garbled = sum(_is_garbled(example) for example in kept)
    return Examples(kept, empties, skipped, max(garbled, len(table.garbled)))


def _is_garbled(example: Example) -> bool:
    return is_garbled(example.text) or any(is_garbled(m.content) for m in example.messages)


def _refuse_many_skipped(table: Table, skipped: Mapping[str, list[int]]) -> None:
    count = sum(map(len, skipped.values()))
    if count <= (1 - AGREEMENT) * len(table.rows):
        return
    reasons = Counter({reason: len(lines) for reason, lines in skipped.items()}).most_common()
    said = [f"{reason} ({rows} rows, first line {skipped[reason][0]})" for reason, rows in reasons]
    raise DataError(
        f"{count} of {len(table.rows)} rows do not have the form of the others",
        why=listing(said, 4),
        fix="Repair or remove these rows; up to 5% are left out and counted.",
        where=table.name,
    )
