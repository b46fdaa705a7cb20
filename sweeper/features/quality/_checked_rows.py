"""The rows of a data set, with methods to check and fix them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

from sweeper.data.contents import limited_by_memory
from sweeper.data.formats.row_format import Form
from sweeper.data.reading.read import read
from sweeper.data.rows import DataRows, FileRow, placeholders, read_rows
from sweeper.errors import DataError
from sweeper.spec import DataSpec


@dataclass(frozen=True)
class TokenCap:
    """The number of tokens after which an example is cut, and how they are counted."""

    tokens: int
    count: Callable[[Sequence[str]], list[int]]
    how: str


@dataclass(frozen=True)
class CheckedRows(DataRows):
    """Rows to check.

    Args:
        cap: Tokens at which examples are cut, if known.
        against: Evaluation rows that must not be in the data.
        represents: Number of usable rows that these, a part or sample, stand for; 0 if they are
            all.
    """

    cap: TokenCap | None = None
    against: tuple[FileRow, ...] = ()
    represents: int = 0

    @classmethod
    def of(cls, data: DataRows) -> Self:
        """The data as rows to check; unchanged if they already are."""
        if isinstance(data, cls):
            return data
        return cls(**{item.name: getattr(data, item.name) for item in fields(DataRows)})

    @property
    def usable_rows(self) -> int:
        """Number of rows of the whole data set that can be trained on."""
        return self.represents or len(self.usable)

    def with_rows(self, rows: Sequence[FileRow], represents: int = 0) -> Self:
        return replace(self, rows=tuple(rows), represents=represents)

    def with_texts(self, row: FileRow, mend: Callable[[str], str]) -> FileRow:
        """The row with ``mend`` applied to its texts, but not to its label or its tests of code."""
        form = self.forms[row.path].of(row.fields)
        columns = [
            name
            for role, column in form.columns.items()
            if role not in ("label", "tests")
            for name in placeholders(column) or [column]
        ]
        fields = {
            name: edit_cell(cell, mend) if name in columns else cell
            for name, cell in row.fields.items()
        }
        return self.with_fields(row, fields)

    def raw_label(self, row: FileRow) -> str:
        """The label as the file writes it, white space included."""
        form = self.forms.get(row.path)
        cell = row.fields.get(form.columns.get("label", "")) if form else None
        return cell if isinstance(cell, str) and cell.strip() == row.label else row.label

    def with_label(self, row: FileRow, label: str) -> FileRow:
        return self.with_fields(row, {**row.fields, self.forms[row.path].columns["label"]: label})


_TEXT_KEYS = ("content", "value", "text")


def edit_cell(cell: object, mend: Callable[[str], str]) -> object:
    """The cell with ``mend`` applied to its texts, but not to the roles of turns."""
    if isinstance(cell, str):
        return mend(cell)
    if isinstance(cell, list):
        return [edit_cell(part, mend) for part in cell]
    if isinstance(cell, dict):
        return {k: edit_cell(v, mend) if k in _TEXT_KEYS else v for k, v in cell.items()}
    return cell


def evaluation_rows(path: str) -> tuple[FileRow, ...]:
    """The rows of an evaluation set. If no format fits, the strings of a row become one text.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return tuple(limited_by_memory(read_rows(DataSpec(path=path), task=None).rows, path))
    except DataError:
        table = read(Path(path))
    form = Form("text", {"text": "text"}, evidence=())
    data = DataRows(path, "domain", (), {path: form})
    text_rows = (
        (line, {"text": "\n".join(cell for cell in fields.values() if isinstance(cell, str))})
        for line, fields in limited_by_memory(table.rows, path)
    )
    return tuple(
        data.with_fields(FileRow(path, "test", line, {}, None), fields)
        for line, fields in text_rows
    )
