"""Excel workbooks to rows: the first sheet that holds any, with the names in its first row."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from sweeper.data.reading.delimited import LOOKED_AT, titles_and_table, unique_names
from sweeper.data.table import Numbered, RowTable
from sweeper.errors import DataError
from sweeper.extras import install_command, needed_for


def read_excel(data: bytes, name: str) -> RowTable:
    """Rows of an .xlsx file; line numbers are those of the sheet.

    Raises:
        DataError: It is not a whole workbook.
        NotInstalled: openpyxl is missing.
    """
    table, rows = first_sheet(io.BytesIO(data), name)
    return replace(table, rows=tuple(rows))


def first_sheet(source: Path | io.BytesIO, name: str) -> tuple[RowTable, Iterator[Numbered]]:
    """The table of the first sheet that holds any, and its rows, read when they are asked for.

    Raises:
        DataError: It is not a whole workbook.
        NotInstalled: openpyxl is missing.
    """
    fix = f"{install_command('data')}, or save the sheet as CSV (UTF-8)."
    with needed_for("An Excel file", fix, name):
        from openpyxl import load_workbook
    with _whole(name):
        book = load_workbook(source, read_only=True, data_only=True)
        filled = [
            sheet.title for sheet in book.worksheets if len(list(islice(_lines(sheet), 2))) > 1
        ]
        if not filled:
            return RowTable(name, ()), iter(())
        lines = _lines(book[filled[0]])
        titles, head = titles_and_table(list(islice(lines, LOOKED_AT)))
    (line, names), *first = head
    columns = unique_names([str(cell).strip() if cell is not None else "" for cell in names])
    others = ", ".join(filled[1:])
    caution = (
        f"{name} has more sheets ({others}), which are not read: save each as a file of its own"
    )
    table = RowTable(
        name,
        (),
        how=(f"the sheet {filled[0]!r}, names in line {line}{titles}",),
        cautions=(caution,) if others else (),
    )
    return table, _rows(chain(first, lines), columns, name)


def _lines(sheet: Any) -> Iterator[tuple[int, Sequence[object]]]:
    sheet.reset_dimensions()  # which some programs write wrong
    numbered = enumerate(sheet.iter_rows(values_only=True), start=1)
    return ((line, cells) for line, cells in numbered if any(cell is not None for cell in cells))


def _rows(
    lines: Iterator[tuple[int, Sequence[object]]], columns: list[str], name: str
) -> Iterator[Numbered]:
    with _whole(name):
        for line, cells in lines:
            columns += [f"column_{n + 1}" for n in range(len(columns), len(cells))]
            yield line, dict(zip_longest(columns, cells))


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Turn what openpyxl raises about a damaged file into our error."""
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        yield
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataError(
            f"this is not a whole Excel workbook ({error})",
            fix="Save it again as .xlsx, or as CSV (UTF-8).",
            where=name,
        ) from error
