"""Reads rows of CSV and TSV files: detects delimiter, quoting and header, and reports them.

Every cell stays a string: "007" is a label, not the number seven.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from sweeper.data.contents import MAX_LINE_BYTES, TextFile
from sweeper.data.formats.row_format import known_names
from sweeper.data.problems import listing
from sweeper.data.table import NumberedRow, RowTable
from sweeper.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader

SAMPLE_CHARACTERS = 65_536
MIN_CONSISTENT_SHARE = 0.95
"""A delimiter fits if at least this share of rows has the same number of fields (as
``MIN_MATCHING_SHARE``).
"""

MAX_NAME_CHARACTERS = 60
"""A longer cell is not a column's name."""

TITLE_SEARCH_ROWS = 100
"""Titles above a table are looked for in this many rows."""

Line = TypeVar("Line", bound=Sequence[object])

_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Dialect:
    """How fields are separated and quoted."""

    delimiter: str
    quoted: bool

    def reader(self, lines: Iterable[str]) -> Reader:
        """Rows of fields, as the csv module reads them."""
        # The default limit of 131,072 characters refuses long documents.
        csv.field_size_limit(MAX_LINE_BYTES)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=self.quoted,
        )

    def __str__(self) -> str:
        return f"{_DELIMITER_NAMES[self.delimiter]}{'' if self.quoted else ', without quoting'}"


def read_delimited(text: TextFile, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of a CSV or TSV file, whose dialect and header are detected from its beginning.

    Raises:
        DataError: A quote is never closed, or most rows have more fields than columns.
    """
    head = text.head(SAMPLE_CHARACTERS)
    dialect = _sniff(head, table.suffix)
    lines: list[tuple[int, list[str]]] = []
    with suppress(DataError):  # the sample may end inside a quoted field
        lines += _fields(dialect, io.StringIO(head, newline=""), table.name)
    if not lines:
        lines = [*islice(_fields(dialect, text.lines(), table.name), 1)]
    if not lines:
        return
    title_note, body = title_note_and_table(lines)
    first_line, first = body[0]
    header = first if _has_header([fields for _, fields in body]) else []
    names = unique_names(header or [""] * len(first))
    names_line = f"names in line {first_line}" if header else "no line with names"
    table.how.append(f"fields divided by {dialect}, {names_line}{title_note}")
    for line, fields in _fields(dialect, text.lines(), table.name):
        if line < first_line or (line == first_line and header):
            continue
        if fields == header:
            table.leave_out(line, "the line with names, repeated", dialect.delimiter.join(fields))
        elif len(fields) > len(names):
            reason = "more fields than there are columns"
            table.leave_out(line, reason, dialect.delimiter.join(fields))
        else:
            yield line, dict(zip(names, fields, strict=False))


def _sniff(sample: str, suffix: str) -> Dialect:
    """The dialect whose rows agree best on their number of fields.

    Only TSV is also tried without quoting: there, a quotation mark is often just a character.
    """
    candidates = [Dialect(mark, True) for mark in ("\t,;|" if suffix == ".tsv" else ",;\t|")]
    if suffix == ".tsv":
        candidates.insert(1, Dialect("\t", False))
    return max(candidates, key=lambda dialect: _consistency(sample, dialect))


def _consistency(sample: str, dialect: Dialect) -> float:
    """Share of sample rows with the commonest number of fields; 0 where that number is 1.

    Shares from ``MIN_CONSISTENT_SHARE`` on count as 1, so that the order of candidates decides.
    """
    counts: Counter[int] = Counter()
    try:
        for fields in dialect.reader(io.StringIO(sample, newline="")):
            counts[len(fields)] += bool(fields)
    except csv.Error:
        counts[1] += len(sample) < SAMPLE_CHARACTERS  # else it may end inside a quoted field
    if not counts.total():
        return 0.0
    width, rows = counts.most_common(1)[0]
    share = rows / counts.total()
    return 0.0 if width == 1 else 1.0 if share >= MIN_CONSISTENT_SHARE else share


def _fields(dialect: Dialect, lines: Iterable[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with the numbers of the lines in which they begin.

    Raises:
        DataError: A quotation mark is not closed, or not escaped.
    """
    reader, start = dialect.reader(lines), 1
    try:
        for fields in reader:
            if any(fields):
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the row that starts here cannot be read ({error})",
            why="A quotation mark is opened and not closed, or unescaped inside a field.",
            fix='Write a quotation mark inside a quoted field twice (""), or use JSONL.',
            where=f"{name}:{start}",
        ) from error


def _has_header(lines: list[list[str]]) -> bool:
    first = [cell.strip() for cell in lines[0]]
    if any(cell.lower() in known_names() for cell in first):
        return True
    if any(not cell or _is_no_name(cell) for cell in first):
        return False
    # A class name of the first row comes again below; a column's name does not.
    values_below = [
        {fields[column].strip() for fields in lines[1:] if column < len(fields)}
        for column in range(len(first))
    ]
    return not any(cell in cells for cell, cells in zip(first, values_below, strict=True))


def _is_no_name(cell: str) -> bool:
    """Whether a cell is a number, a sentence or too long, and so no column's name."""
    with suppress(ValueError):
        float(cell)
        return True
    sentence = len(cell.split()) > 2 and cell[-1] in ".?!"
    return len(cell) > MAX_NAME_CHARACTERS or sentence


def title_note_and_table(
    lines: Sequence[tuple[int, Line]],
) -> tuple[str, Sequence[tuple[int, Line]]]:
    """A note on title rows (of one cell) above a table, empty without any; and the table's rows."""
    filled_cells = [
        sum(cell not in (None, "") for cell in cells) for _, cells in lines[:TITLE_SEARCH_ROWS]
    ]
    if not filled_cells or median(filled_cells) < 2:
        return "", lines
    count = next(row for row, cells in enumerate(filled_cells) if cells > 1)
    titles = [repr(next(filter(None, cells))) for _, cells in lines[:count]]
    return f"; left out above: {listing(titles)}" if titles else "", lines[count:]


def unique_names(header: list[str]) -> list[str]:
    """Unique names of columns: a repeated or missing name gets the column's number."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header, start=1):
        name = cell.strip() or f"column_{number}"
        names[f"{name}_{number}" if name in names else name] = None
    return list(names)
