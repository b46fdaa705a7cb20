"""Reads the rows of one file with the reader of its format."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path, PurePath
from typing import BinaryIO

from sweeper.data.contents import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    MemoryLimit,
    TextFile,
    file_and_key,
    line_too_long,
    open_data_file,
    out_of_memory,
    unpacked_suffix,
)
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.arrow import read_batches
from sweeper.data.reading.delimited import read_delimited
from sweeper.data.reading.excel import read_excel
from sweeper.data.reading.jsonrows import json_keys, read_json
from sweeper.data.table import NumberedRow, RowTable, collect_rows
from sweeper.errors import DataError
from sweeper.packages import install_command, needed_for


def read_paragraphs(text: TextFile, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of plain text: a row for each paragraph or, if there is only one, for each line.

    Raises:
        DataError: A paragraph is too long.
    """
    filled_blocks = (True for is_filled, _ in groupby(text.lines(), key=_is_filled) if is_filled)
    has_paragraphs = next(filled_blocks, False) and next(filled_blocks, False)
    table.how.append(f"plain text, one row for each {'paragraph' if has_paragraphs else 'line'}")
    lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(text.lines(), start=1))
    for is_filled, block in groupby(lines, key=lambda line: _is_filled(line[1])):
        if is_filled and has_paragraphs:
            first_number, first_line = next(block)
            paragraph = io.StringIO(first_line)  # a list of short lines would take more memory
            paragraph.seek(0, os.SEEK_END)
            for number, line in block:
                paragraph.write(f"\n{line}")
                if paragraph.tell() > MAX_LINE_BYTES:
                    raise line_too_long(table.name, number, paragraph.tell())
            yield first_number, {"text": paragraph.getvalue()}
        elif is_filled:
            yield from ((number, {"text": line}) for number, line in block)


def _is_filled(line: str) -> bool:
    return bool(line.strip())


TEXT_READERS: dict[str, Callable[[TextFile, RowTable], Iterator[NumberedRow]]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_paragraphs,
}
BINARY_READERS: dict[str, Callable[[BinaryIO, RowTable], Iterator[NumberedRow]]] = {
    ".parquet": read_batches,
    ".arrow": read_batches,
    ".xlsx": read_excel,
}

SUFFIXES: tuple[str, ...] = (*TEXT_READERS, *BINARY_READERS)


def data_suffix(path: PurePath) -> str | None:
    """The suffix that decides the reader (``.gz`` set aside), or None for other files."""
    suffix = unpacked_suffix(path)
    return suffix if suffix in SUFFIXES else None


def read(path: Path) -> RowTable:
    """The rows of a file or, for ``data.json/train.json``, of the list ``train`` in data.json.

    Many rows are kept on the disk.

    Raises:
        DataError: It is missing, empty, of no known kind, or does not hold what its name says.
    """
    if data_suffix(path) is None:
        raise DataError(
            f"{path.name!r} is not a kind of file that can be read",
            fix=f"Use one of {', '.join(SUFFIXES)}, plain or with .gz.",
            where=str(path),
        )
    table = RowTable(str(path))
    path, _ = file_and_key(path)
    fix = "Is this the right file?"
    try:
        with open_data_file(path) as file:
            if not file.read(CHUNK_BYTES).strip():
                raise DataError("the file is empty", fix=fix, where=table.name)
            rows = with_progress(
                table.count_rows(_rows(path, file, table)),
                f"reading {table.name}",
                total=path.stat().st_size,
                done_so_far=partial(os.lseek, file.fileno(), 0, os.SEEK_CUR),
            )
            table.rows = collect_rows(rows)
    except MemoryError as error:  # pyarrow raises it, too
        raise out_of_memory(table.name) from error
    table.refuse_if_mostly_broken()
    if not table.rows:
        raise DataError("the file has no rows", fix=fix, where=table.name)
    return table


def keys_of(path: Path) -> tuple[str, ...]:
    """The keys of the lists that a JSON file holds; none if it is not an object of lists.

    Raises:
        DataError: The file cannot be opened.
    """
    if data_suffix(path) != ".json":
        return ()
    # Errors of the content are left to the reading of its rows.
    with open_data_file(path) as file, suppress(DataError, MemoryError):
        return json_keys(TextFile(path, file, str(path)))
    return ()


def _rows(path: Path, file: BinaryIO, table: RowTable) -> Iterator[NumberedRow]:
    file.seek(0)
    if table.suffix in BINARY_READERS:
        if path.suffix.lower() == ".gz":  # binary readers go back and forth, so unpack it first
            limit, unpacked = MemoryLimit(table.name), io.BytesIO()
            for chunk in iter(partial(file.read, CHUNK_BYTES), b""):
                limit.check(unpacked.tell() + unpacked.write(chunk))
            file = unpacked
            file.seek(0)
        fix = f"{install_command('data')}, or export the data as JSONL."
        with needed_for(f"Reading a {table.suffix} file", fix, table.name):
            yield from BINARY_READERS[table.suffix](file, table)
        return
    text = TextFile(path, file, table.name)
    yield from TEXT_READERS[table.suffix](text, table)
    table.cautions += text.cautions
