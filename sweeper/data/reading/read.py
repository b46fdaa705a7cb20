"""One file to rows: opens it, unpacks it, and hands the bytes to the reader of its format.

Knows file names and bytes, not what rows mean.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

from sweeper.data.encoding import decode
from sweeper.data.reading.delimited import read_delimited
from sweeper.data.reading.jsonrows import read_json
from sweeper.data.reading.parquet import read_parquet
from sweeper.data.table import Table
from sweeper.errors import DataError

TextReader = Callable[[str, str, str], Table]
"""(text, name for messages, suffix) to rows."""


def read_paragraphs(text: str, name: str, _suffix: str) -> Table:
    """Plain text: one row of ``text`` for each paragraph (blank lines divide them)."""
    rows: list[tuple[int, dict[str, object]]] = []
    start, lines = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            start = start if lines else number
            lines.append(line.rstrip("\r"))
        elif lines:
            rows.append((start, {"text": "\n".join(lines)}))
            lines = []
    return Table(name, tuple(rows), how=("plain text, one row for each paragraph",))


TEXT_READERS: dict[str, TextReader] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_paragraphs,
}
SUFFIXES: tuple[str, ...] = (*TEXT_READERS, ".parquet")


def data_suffix(path: Path) -> str | None:
    """The suffix that decides the reader (``.gz`` set aside), or None for other files.

    >>> data_suffix(Path("rows.JSONL.gz"))
    '.jsonl'
    """
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    return suffix if suffix in SUFFIXES else None


def read(path: Path) -> Table:
    """The rows of one file.

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
    data = _bytes(path)
    if not data.strip():
        raise DataError("the file is empty", fix="Is this the right file?", where=name)
    if suffix == ".parquet":
        table = read_parquet(data, name)
    else:
        text, garbled = decode(data, name)
        read_text = TEXT_READERS[suffix](text, name, suffix)
        table = Table(name, read_text.rows, read_text.how, read_text.label_names, garbled)
    if not table.rows:
        raise DataError("the file has no rows", fix="Is this the right file?", where=name)
    return table


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read the data: {error.strerror or error}",
            fix="Check the path and its permissions.",
            where=str(path),
        ) from error
    except ValueError as error:  # a null character in the name
        raise DataError(f"this is not a path ({error})", where=repr(str(path))) from error
    if path.name.lower().endswith(".gz"):
        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"the file cannot be unpacked ({error})",
                why="Its name ends in .gz, but its content is not (all of) a gzip file.",
                fix="Download it again, or rename it if it is not compressed.",
                where=str(path),
            ) from error
    return data
