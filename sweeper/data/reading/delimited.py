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
from sweeper.data.formats.row_format import MIN_MATCHING_SHARE, known_names
from sweeper.data.problems import listing
from sweeper.data.table import NumberedRow, RowTable
from sweeper.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader

SAMPLE_CHARACTERS = 65_536
"""Delimiter, quoting and header are detected in this many characters at the beginning."""

MAX_NAME_CHARACTERS = 60
"""A longer cell is not a column's name."""

TITLE_SEARCH_ROWS = 100
"""Titles above a table are looked for in this many rows."""

Cells = TypeVar("Cells", bound=Sequence[object])

_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Dialect:
    """The delimiter of fields, and whether they may be quoted."""

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
    sample: list[tuple[int, list[str]]] = []
    with suppress(DataError):  # the head may end inside a quoted field
        sample += _numbered_rows(dialect, io.StringIO(head, newline=""), table.name)
    if not sample:
        sample = [*islice(_numbered_rows(dialect, text.lines(), table.name), 1)]
    if not sample:
        return
    title_note, body = title_note_and_table(sample)
    first_line, first = body[0]
    header = first if _has_header([fields for _, fields in body]) else []
    names = unique_names(header or [""] * len(first))
    names_line = f"names in line {first_line}" if header else "no line with names"
    table.how.append(f"fields divided by {dialect}, {names_line}{title_note}")
    for line, fields in _numbered_rows(dialect, text.lines(), table.name):
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

    Files of other suffixes are not tried without quoting. In TSV, a quotation mark is often just a
    character.
    """
    candidates = [Dialect(mark, True) for mark in ("\t,;|" if suffix == ".tsv" else ",;\t|")]
    if suffix == ".tsv":
        candidates.insert(1, Dialect("\t", False))
    return max(candidates, key=lambda dialect: _consistency(sample, dialect))


def _consistency(sample: str, dialect: Dialect) -> float:
    """Share of sample rows with the commonest number of fields; 0 if that number is 1.

    Shares from ``MIN_MATCHING_SHARE`` on count as 1, so that the order of dialects decides.
    """
    counts: Counter[int] = Counter()
    try:
        for fields in dialect.reader(io.StringIO(sample, newline="")):
            counts[len(fields)] += bool(fields)
    except csv.Error:
        # A broken row counts as one field. A sample that is not the whole file may just end inside
        # a quoted field.
        counts[1] += len(sample) < SAMPLE_CHARACTERS
    if not counts.total():
        return 0.0
    width, rows = counts.most_common(1)[0]
    share = rows / counts.total()
    return 0.0 if width == 1 else 1.0 if share >= MIN_MATCHING_SHARE else share


def _numbered_rows(
    dialect: Dialect, lines: Iterable[str], name: str
) -> Iterator[tuple[int, list[str]]]:
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


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds the names of the columns."""
    first = [cell.strip() for cell in rows[0]]
    if any(cell.lower() in known_names() for cell in first):
        return True
    if not all(map(_can_be_name, first)):
        return False
    # A class in the first row comes again below; a column's name does not.
    return not any(
        cell in (fields[column].strip() for fields in rows[1:] if column < len(fields))
        for column, cell in enumerate(first)
    )


def _can_be_name(cell: str) -> bool:
    """Whether a cell is neither empty nor a number, a sentence or too long for a column's name."""
    with suppress(ValueError):
        float(cell)
        return False
    is_sentence = len(cell.split()) > 2 and cell[-1] in ".?!"
    return 0 < len(cell) <= MAX_NAME_CHARACTERS and not is_sentence


def title_note_and_table(
    rows: Sequence[tuple[int, Cells]],
) -> tuple[str, Sequence[tuple[int, Cells]]]:
    """A note on titles (rows of one cell) above a table, empty if it has none; the other rows."""
    filled_cells = [
        sum(cell not in (None, "") for cell in cells) for _, cells in rows[:TITLE_SEARCH_ROWS]
    ]
    if not filled_cells or median(filled_cells) < 2:
        return "", rows
    title_rows = next(row for row, cells in enumerate(filled_cells) if cells > 1)
    titles = [repr(next(filter(None, cells))) for _, cells in rows[:title_rows]]
    return f"; left out above: {listing(titles)}" if titles else "", rows[title_rows:]


def unique_names(header: list[str]) -> list[str]:
    """Unique names of columns; a repeated or missing name gets the number of its column."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header, start=1):
        name = cell.strip() or f"column_{number}"
        names[f"{name}_{number}" if name in names else name] = None
    return list(names)
