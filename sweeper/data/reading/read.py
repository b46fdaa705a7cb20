"""One file to rows: opens it, unpacks it, and hands the bytes to the reader of its format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path, PurePath

from sweeper.data.contents import (
    MOST_LINE_BYTES,
    line_too_long,
    out_of_memory,
    part_of,
    read_bytes,
)
from sweeper.data.encoding import decode
from sweeper.data.reading.arrow import read_batches
from sweeper.data.reading.delimited import read_delimited
from sweeper.data.reading.excel import read_excel
from sweeper.data.reading.jsonrows import is_one_document, lists_in, read_json
from sweeper.data.reading.large import is_large, keys_in, read_large
from sweeper.data.table import MOST_COLUMNS, RowTable, too_many_columns
from sweeper.errors import DataError

TextReader = Callable[[str, str, str], RowTable]
"""(text, name for messages, suffix) to rows."""


def read_paragraphs(text: str, name: str, _suffix: str) -> RowTable:
    """Plain text: a row of ``text`` for each paragraph, or each line of a text without any."""
    numbered = [(n, line.rstrip("\r")) for n, line in enumerate(text.split("\n"), start=1)]
    groups = groupby(numbered, key=lambda line: bool(line[1].strip()))
    parts = [list(part) for filled, part in groups if filled]
    unit = "paragraph"
    if len(parts) == 1:
        parts, unit = [[line] for line in parts[0]], "line"
    rows = ((part[0][0], {"text": "\n".join(line for _, line in part)}) for part in parts)
    return RowTable(name, tuple(rows), how=(f"plain text, one row for each {unit}",))


TEXT_READERS: dict[str, TextReader] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_paragraphs,
}
BINARY_READERS: dict[str, Callable[[bytes, str], RowTable]] = {
    ".parquet": read_batches,
    ".arrow": read_batches,
    ".xlsx": read_excel,
}

SUFFIXES: tuple[str, ...] = (*TEXT_READERS, *BINARY_READERS)


def data_suffix(path: PurePath) -> str | None:
    """The suffix that decides the reader (``.gz`` set aside), or None for other files.

    >>> data_suffix(Path("rows.JSONL.gz"))
    '.jsonl'
    """
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    return suffix if suffix in SUFFIXES else None


def read(path: Path, *, stored: bool = False) -> RowTable:
    """The rows of one file; with ``stored``, those of a large one stay in it.

    Raises:
        DataError: It is missing, empty, of no known kind, or does not hold what its name says.
    """
    name = str(path)
    suffix = data_suffix(path)
    if suffix is None:
        raise DataError(
            f"{path.name!r} is not a kind of file that can be read",
            fix=f"Use one of {', '.join(SUFFIXES)}, plain or with .gz.",
            where=name,
        )
    try:
        large = read_large(path, name) if stored else None
        return large or _rows(path, name, suffix)
    except MemoryError as error:  # which is what pyarrow raises, too
        raise out_of_memory(path) from error


def keys_of(path: Path) -> tuple[str, ...]:
    """The keys of the lists that a JSON file holds; none if it is no object of lists.

    Raises:
        DataError: The file cannot be read.
    """
    if data_suffix(path) != ".json":
        return ()
    if is_large(path) and (keys := keys_in(path, str(path))) is not None:
        return keys
    text = decode(read_bytes(path), str(path)).text
    if text.lstrip()[:1] != "{" or not is_one_document(text):
        return ()
    with suppress(DataError):  # of which reading it says the same
        return tuple(filter(None, lists_in(text, str(path))))
    return ()


def _rows(path: Path, name: str, suffix: str) -> RowTable:
    path, key = part_of(path)
    data = read_bytes(path)
    if not data.strip():
        raise DataError("the file is empty", fix="Is this the right file?", where=name)
    if suffix in BINARY_READERS:
        table = BINARY_READERS[suffix](data, name)
    else:
        if suffix != ".json" and not data.lstrip().startswith(b"["):  # which may be one long line
            _check_lines(data, name)
        decoded = decode(data, name)
        reader = partial(read_json, key=key) if key else TEXT_READERS[suffix]
        table = reader(decoded.text, name, suffix)
        cautions = (*decoded.cautions, *table.cautions)
        table = replace(table, cautions=cautions)
    if not table.rows:
        raise DataError("the file has no rows", fix="Is this the right file?", where=name)
    return replace(table, named=_columns(table))


def _columns(table: RowTable) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for line, fields in table.rows:
        if not names.keys() >= fields.keys():
            names |= dict.fromkeys(fields)
            if len(names) > MOST_COLUMNS:
                raise too_many_columns(table.name, line)
    return tuple(names)


def _check_lines(data: bytes, name: str) -> None:
    start, number = 0, 1
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        if end - start > MOST_LINE_BYTES:
            raise line_too_long(name, number, end - start)
        start, number = end + 1, number + 1
