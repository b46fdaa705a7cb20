"""Reads rows of Excel workbooks: the first sheet with rows, below its row of column names."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial, reduce
from itertools import chain, islice
from typing import Any, BinaryIO

from sweeper.data.contents import CHUNK_BYTES, MemoryLimit
from sweeper.data.reading.delimited import TITLE_SEARCH_ROWS, title_note_and_table, unique_names
from sweeper.data.table import NumberedRow, RowTable
from sweeper.errors import DataError

_POSITION = re.compile(
    rb"<(?:\w{1,20}:)?(?:c|row)\s[^<>]{0,99}?\br\s*=\s*[\"']([A-Za-z]{0,9})([0-9]{1,30})[\"']"
)
"""The position of a cell, such as ``AB12``, or the number of a row."""

_TAG_BYTES = 200
"""Bytes of a chunk that are searched again with the next: a match of ``_POSITION`` in two chunks is
rarely longer."""


def read_excel(file: BinaryIO, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of an .xlsx file; line numbers are those of the sheet.

    Raises:
        DataError: It is not a valid workbook, or takes too much memory.
    """
    from python_calamine import CalamineError, load_workbook

    try:
        _check_extent(file, MemoryLimit(table.name))
        file.seek(0)
        book = load_workbook(file)
        sheets = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
    except (
        CalamineError,
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        raise DataError(
            f"this is not a valid Excel workbook ({error})",
            fix="Save it again as .xlsx, or as CSV (UTF-8).",
            where=table.name,
            code="damaged-file",
        ) from error
    filled_sheets = [name for name, sheet in sheets.items() if len([*islice(_rows(sheet), 2)]) > 1]
    if not filled_sheets:
        return
    rows = _rows(sheets[filled_sheets[0]])
    top_rows = [*islice(rows, TITLE_SEARCH_ROWS)]
    title_note, ((line, names), *first_rows) = title_note_and_table(top_rows)
    columns = unique_names(["" if cell is None else str(cell) for cell in names])
    table.how.append(f"the sheet {filled_sheets[0]!r}, names in line {line}{title_note}")
    if other_sheets := ", ".join(filled_sheets[1:]):
        table.cautions.append(
            f"{table.name} has more sheets ({other_sheets}), which are not read: save each as a "
            "file of its own"
        )
    for line, cells in chain(first_rows, rows):
        yield line, dict(zip(columns, cells, strict=True))


def _rows(sheet: Any) -> Iterator[tuple[int, list[object]]]:
    """The rows that are not empty, with their numbers."""
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if any(cell != "" for cell in cells):
            yield number, [*map(_cell, cells)]


def _cell(cell: object) -> object:
    """A cell, with a whole number as int, and None for an empty cell."""
    if cell == "":
        return None
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _check_extent(file: BinaryIO, limit: MemoryLimit) -> None:
    """Check that a sheet up to its last cell fits into memory: calamine allocates empty cells too.

    Raises:
        DataError: They do not fit.
    """
    size = rows = columns = 0
    with zipfile.ZipFile(file) as book:
        for part in book.infolist():
            with book.open(part) as opened:
                tail = b""
                for chunk in iter(partial(opened.read, CHUNK_BYTES), b""):
                    size += len(chunk)
                    for name, number in _POSITION.findall(tail + chunk):
                        rows = max(rows, int(number))
                        columns = max(columns, reduce(_next_letter, name.upper(), 0))
                    limit.check(size, cells=rows * columns)
                    tail = chunk[-_TAG_BYTES:]


def _next_letter(column: int, letter: int) -> int:
    """The number of a column whose name has one more letter: A is 1, AB is 28."""
    return 26 * column + letter - ord("@")
