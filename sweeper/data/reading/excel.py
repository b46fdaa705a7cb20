"""Excel workbooks to rows: the first sheet that holds any, with the names in its first row."""

from __future__ import annotations

import io
import zipfile

from sweeper.data.reading.delimited import titles_and_table, unique_names
from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.extras import install_command, needed_for


def read_excel(data: bytes, name: str) -> RowTable:
    """Rows of an .xlsx file; line numbers are those of the sheet.

    Raises:
        DataError: It is not a whole workbook.
        NotInstalled: openpyxl is missing.
    """
    fix = f"{install_command('data')}, or save the sheet as CSV (UTF-8)."
    with needed_for("An Excel file", fix, name):
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = {
            sheet.title: [
                (line, cells)
                for line, cells in enumerate(sheet.iter_rows(values_only=True), start=1)
                if any(cell is not None for cell in cells)
            ]
            for sheet in book.worksheets
        }
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataError(
            f"this is not a whole Excel workbook ({error})",
            fix="Save it again as .xlsx, or as CSV (UTF-8).",
            where=name,
        ) from error
    filled = {title: rows for title, rows in sheets.items() if len(rows) > 1}
    if not filled:
        return RowTable(name, ())
    title, lines = next(iter(filled.items()))
    above, rows = titles_and_table(lines)
    header = [str(cell).strip() if cell is not None else "" for cell in rows[0][1]]
    columns = unique_names(header)
    others = [other for other in filled if other != title]
    return RowTable(
        name,
        tuple((line, dict(zip(columns, cells, strict=False))) for line, cells in rows[1:]),
        how=(f"the sheet {title!r}, names in line {rows[0][0]}",),
        broken=tuple(above),
        cautions=(
            f"{name} has more sheets ({', '.join(others)}), which are not read: save each as a "
            "file of its own",
        )
        if others
        else (),
    )
