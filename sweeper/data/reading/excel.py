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


def read_excel(file: BinaryIO, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of an .xlsx file; line numbers are those of the sheet.

    Raises:
        DataError: It is not a whole workbook, or takes too much memory.
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
            f"this is not a whole Excel workbook ({error})",
            fix="Save it again as .xlsx, or as CSV (UTF-8).",
            where=table.name,
            code="damaged-file",
        ) from error
    sheet_names = [name for name, sheet in sheets.items() if len([*islice(_lines(sheet), 2)]) > 1]
    if not sheet_names:
        return
    lines = _lines(sheets[sheet_names[0]])
    search_lines = [*islice(lines, TITLE_SEARCH_ROWS)]
    title_note, ((line, names), *first_lines) = title_note_and_table(search_lines)
    columns = unique_names([str(cell).strip() if cell is not None else "" for cell in names])
    table.how.append(f"the sheet {sheet_names[0]!r}, names in line {line}{title_note}")
    if other_sheets := ", ".join(sheet_names[1:]):
        table.cautions.append(
            f"{table.name} has more sheets ({other_sheets}), which are not read: save each as a "
            "file of its own"
        )
    for line, cells in chain(first_lines, lines):
        yield line, dict(zip(columns, cells, strict=True))


def _lines(sheet: Any) -> Iterator[tuple[int, list[object]]]:
    """The rows that are not empty, with whole numbers as int and empty cells as None."""
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        if any(cell != "" for cell in cells):
            yield (
                line,
                [
                    int(cell) if isinstance(cell, float) and cell.is_integer() else cell
                    for cell in (None if cell == "" else cell for cell in cells)
                ],
            )


def _check_extent(file: BinaryIO, limit: MemoryLimit) -> None:
    """Check that all cells up to the last one fit into memory, as calamine allocates each.

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
                        # A is 1, AB is 28
                        column = reduce(
                            lambda number, letter: 26 * number + letter - 64, name.upper(), 0
                        )
                        columns = max(columns, column)
                    limit.check(size, cells=rows * columns)
                    tail = chunk[-_TAG_BYTES:]
