"""CSV and TSV to rows: detects delimiter, quoting and header, and reports them.

Every cell stays a string: "007" is a label, not the number seven.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from sweeper.data.formats.base import known_names
from sweeper.data.problems import Problems
from sweeper.data.table import RowTable

if TYPE_CHECKING:
    from _csv import Reader

SAMPLE_CHARACTERS = 65_536
CONSISTENT = 0.95
"""Share of rows with the same number of fields that makes a delimiter believable; the share that
format recognition asks for, too."""

HEADER_CHARACTERS = 60
"""A longer cell is not a column's name."""

_UNCLOSED = 0.5
"""What the agreement of a delimiter's rows counts if one of them has a quote that is not closed."""

_FEWEST = 1000
"""Rows that cannot be read from which on a file is given up, if these are most."""

_LOOKED_AT = 100
"""Lines by which a title is told from a table."""

Line = TypeVar("Line", bound=Sequence[object])

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Dialect:
    """How fields are divided."""

    delimiter: str
    quoted: bool

    def reader(self, lines: Iterable[str]) -> Reader:
        """Rows of fields, as the csv module reads them."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=self.quoted,
        )

    def __str__(self) -> str:
        return f"{_NAMES[self.delimiter]}{'' if self.quoted else ', without quoting'}"


def read_delimited(text: str, name: str, suffix: str) -> RowTable:
    """Rows of a CSV or TSV file.

    Raises:
        DataError: In most rows a quote is never closed, or there are more fields than columns.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # 131,072 characters cut long documents off
    dialect = _sniff(text, suffix)
    every, unclosed = _fields(text, name, dialect)
    above, lines = titles_and_table(every)
    if not lines:
        return RowTable(name, ())
    has_header = _has_header([fields for _, fields in lines])
    header = lines[0][1] if has_header else [f"column_{n + 1}" for n in range(len(lines[0][1]))]
    body = lines[1:] if has_header else lines
    found = f"fields divided by {dialect}, " + (
        f"names in line {lines[0][0]}" if has_header else "no line with names"
    )
    rows, broken = _rows(body, unique_names(header), name)
    return RowTable(name, rows, how=(found,), broken=(*above, *sorted((*unclosed, *broken))))


def _sniff(text: str, suffix: str) -> Dialect:
    """The dialect whose rows agree best on their number of fields.

    Only tabs in TSV are tried without quoting: there, a quotation mark is often just a character.
    """
    sample = text[:SAMPLE_CHARACTERS]
    whole = len(sample) == len(text)
    candidates = [Dialect(mark, True) for mark in ("\t,;|" if suffix == ".tsv" else ",;\t|")]
    if suffix == ".tsv":
        candidates.insert(1, Dialect("\t", False))
    return max(candidates, key=lambda dialect: _consistency(sample, dialect, whole))


def _consistency(sample: str, dialect: Dialect, whole: bool) -> float:
    """Share of sample rows with the commonest number of fields; 0 where that number is 1.

    Shares at or above ``CONSISTENT`` count as 1, so that the order of candidates decides there.
    """
    counts: Counter[int] = Counter()
    certainty = 1.0
    try:
        for fields in dialect.reader(io.StringIO(sample, newline="")):
            counts[len(fields)] += bool(fields)
    except csv.Error:
        # Where the sample is not all, it may end inside a quoted field.
        certainty = _UNCLOSED if whole else 1.0
    if not counts.total():
        return 0.0
    width, rows = counts.most_common(1)[0]
    share = rows / counts.total()
    return 0.0 if width == 1 else certainty * (1.0 if share >= CONSISTENT else share)


def _fields(
    text: str, name: str, dialect: Dialect
) -> tuple[list[tuple[int, list[str]]], list[tuple[int, str]]]:
    """The rows, and lines with a quote that cannot be read: reading goes on below each of them."""
    lines = io.StringIO(text, newline="").readlines()
    rows: list[tuple[int, list[str]]] = []
    broken: list[tuple[int, str]] = []
    problems = Problems()
    first = 0
    while first < len(lines):
        reader = dialect.reader(lines[place] for place in range(first, len(lines)))
        start = first
        try:
            for fields in reader:
                if any(fields):
                    rows.append((start + 1, fields))
                start = first + reader.line_num
        except csv.Error as error:
            problems.add(
                f"the row that starts here cannot be read ({error})",
                why="A quotation mark is opened and not closed, or stands inside a field "
                "unescaped.",
                fix='Write a quotation mark inside a quoted field twice (""), or use JSONL.',
                where=f"{name}:{start + 1}",
            )
            broken.append((start + 1, "a quotation mark is not closed, or not escaped"))
            if len(broken) > max(len(rows), _FEWEST):
                problems.raise_any()
            first = start + 1
        else:
            break
    if len(broken) > len(rows):
        problems.raise_any()
    return rows, broken


def _has_header(lines: list[list[str]]) -> bool:
    first = [cell.strip() for cell in lines[0]]
    if any(cell.lower() in known_names() for cell in first):
        return True
    if any(not cell or _is_no_name(cell) for cell in first):
        return False
    # A class name of the first row comes again below; a column's name does not.
    below = [
        {fields[place].strip() for fields in lines[1:] if place < len(fields)}
        for place in range(len(first))
    ]
    return not any(cell in cells for cell, cells in zip(first, below, strict=True))


def _is_no_name(cell: str) -> bool:
    """Whether a cell is a text, a sentence or a number."""
    sentence = len(cell.split()) > 2 and cell[-1] in ".?!"
    return len(cell) > HEADER_CHARACTERS or sentence or _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def titles_and_table(
    lines: Sequence[tuple[int, Line]],
) -> tuple[list[tuple[int, str]], Sequence[tuple[int, Line]]]:
    """Lines of one cell above a table of several columns, as broken ones, and the table."""
    filled = [sum(cell not in (None, "") for cell in cells) for _, cells in lines[:_LOOKED_AT]]
    if not filled or median(filled) < 2:
        return [], lines
    count = next(place for place, cells in enumerate(filled) if cells > 1)
    return [(line, "a title above the table") for line, _ in lines[:count]], lines[count:]


def unique_names(header: list[str]) -> list[str]:
    """Names of columns: repeated ones get their number, missing ones are called by it."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header, start=1):
        name = cell.strip() or f"column_{number}"
        names[f"{name}_{number}" if name in names else name] = None
    return list(names)


def _rows(
    body: Sequence[tuple[int, list[str]]], header: list[str], name: str
) -> tuple[tuple[tuple[int, dict[str, object]], ...], tuple[tuple[int, str], ...]]:
    """The rows, and line and reason of those that cannot be read."""
    problems = Problems()
    broken: list[tuple[int, str]] = []
    rows: list[tuple[int, dict[str, object]]] = []
    for line, fields in body:
        if fields == header:
            broken.append((line, "the line with names, repeated"))
            continue
        if len(fields) > len(header):
            problems.add(
                f"{len(fields)} fields, but there are {len(header)} columns",
                fix="Put quotation marks around text that contains the delimiter.",
                where=f"{name}:{line}",
            )
            broken.append((line, "more fields than there are columns"))
            continue
        rows.append((line, dict(zip(header, fields, strict=False))))
    if len(broken) > len(rows):
        problems.raise_any()
    return tuple(rows), tuple(broken)
