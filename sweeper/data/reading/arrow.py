"""Parquet and Arrow to rows, with the class names that the hub stores in the schema.

Arrow is a stream, as ``save_to_disk`` of `datasets` writes it, or a file (Feather).
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from sweeper.data.contents import CHUNK_BYTES, most_bytes, too_large
from sweeper.data.table import (
    MOST_COLUMNS,
    Fields,
    Numbered,
    RowTable,
    Stored,
    too_many_columns,
)
from sweeper.errors import DataError
from sweeper.extras import needed_for
from sweeper.jsontext import value_of

BATCH_ROWS = 1024

BINARY = (".parquet", ".arrow")

_FILE = b"ARROW1"
"""How an Arrow file begins that is no stream."""


def read_parquet(data: bytes, name: str) -> RowTable:
    """Rows of a Parquet file.

    Raises:
        DataError: It is not a whole Parquet file.
        NotInstalled: pyarrow is missing.
    """
    with _whole("Parquet", name):
        from pyarrow import parquet

        file = parquet.ParquetFile(io.BytesIO(data))
        batches = file.iter_batches(batch_size=BATCH_ROWS)
        return _table(name, batches, file.schema_arrow.metadata)


def read_arrow(data: bytes, name: str) -> RowTable:
    """Rows of an Arrow file.

    Raises:
        DataError: It is not a whole Arrow file.
        NotInstalled: pyarrow is missing.
    """
    with _whole("Arrow", name):
        from pyarrow import ipc

        if not data.startswith(_FILE):
            stream = ipc.open_stream(data)
            return _table(name, stream, stream.schema.metadata)
        file = ipc.open_file(data)
        return _table(
            name, map(file.get_batch, range(file.num_record_batches)), file.schema.metadata
        )


def stored_batches(path: Path, name: str) -> RowTable | None:
    """The rows of a large file, which stay in it; None if it has none.

    Raises:
        DataError: It is not whole.
        NotInstalled: pyarrow is missing.
    """
    kind = "Parquet" if path.name.lower().endswith(".parquet") else "Arrow"
    with _whole(kind, name):
        starts, schema, read = (_parquet if kind == "Parquet" else _arrow)(path)
        if len(schema.names) > MOST_COLUMNS:
            raise too_many_columns(name, 1)
        if not starts[-1]:
            return None
        labels = _class_names(schema.metadata or {})
        rows = _rows(starts, read, kind, name)
        return RowTable(name, rows, label_names=labels, named=tuple(schema.names))


Parts = tuple[list[int], Any, Callable[[int], Iterable[Any]]]
"""Where each part of a file begins, and the last one ends, in rows; the schema; and what gives the
batches from a part on."""


def _parquet(path: Path) -> Parts:
    from pyarrow import parquet

    # With a buffer, a column is read piece by piece.
    file = parquet.ParquetFile(path, buffer_size=CHUNK_BYTES)
    count = file.metadata.num_row_groups
    sizes = [file.metadata.row_group(part).num_rows for part in range(count)]

    def read(part: int) -> Iterable[Any]:
        groups: Iterable[Any] = file.iter_batches(BATCH_ROWS, range(part, count))
        return groups

    return [*accumulate(sizes, initial=0)], file.schema_arrow, read


def _arrow(path: Path) -> Parts:
    from pyarrow import ipc, memory_map

    mapped = memory_map(str(path))
    if mapped.read(len(_FILE)) != _FILE:
        rows = sum(batch.num_rows for batch in ipc.open_stream(memory_map(str(path))))
        schema = ipc.open_stream(memory_map(str(path))).schema
        return [0, rows], schema, lambda _: ipc.open_stream(memory_map(str(path)))
    file = ipc.open_file(mapped)
    count = file.num_record_batches
    sizes = [file.get_batch(part).num_rows for part in range(count)]
    starts = [*accumulate(sizes, initial=0)]
    return starts, file.schema, lambda part: map(file.get_batch, range(part, count))


def _rows(
    starts: list[int], read: Callable[[int], Iterable[Any]], kind: str, name: str
) -> Stored[Numbered]:
    """Rows that are cheap to ask for in their order: the latest ones are kept."""

    def blocks(part: int) -> Iterator[tuple[int, list[Fields]]]:
        """Some rows after others, with the place of the first."""
        first = starts[part]
        with _whole(kind, name):
            for batch in read(part):
                for begin in range(0, batch.num_rows, BATCH_ROWS):
                    rows = batch.slice(begin, BATCH_ROWS).to_pylist()
                    yield first, rows
                    first += len(rows)

    ahead: Iterator[tuple[int, list[Fields]]] = iter(())
    first, rows = 0, list[Fields]()

    def at(place: int) -> Numbered:
        nonlocal ahead, first, rows
        part = bisect_right(starts, place) - 1
        if place < first or starts[part] > first + len(rows) or not rows:
            ahead, first, rows = blocks(part), starts[part], []
        while place >= first + len(rows):
            first, rows = next(ahead)
        return place + 1, rows[place - first]

    def stream() -> Iterator[Numbered]:
        for begin, block in blocks(0):
            yield from enumerate(block, start=begin + 1)

    return Stored(starts[-1], at, stream)


@contextmanager
def _whole(kind: str, name: str) -> Iterator[None]:
    """Turn what pyarrow raises about a damaged file into our error."""
    with needed_for(kind, "pip install pyarrow, or export the data as JSONL.", name):
        # Here, since pyarrow takes a tenth of a second that no other format needs.
        from pyarrow import ArrowException
    try:
        yield
    except MemoryError:
        raise
    except (ArrowException, OSError, ValueError, NotImplementedError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"this is not a whole {kind} file ({reason})",
            fix="Download or export it again.",
            where=name,
        ) from error


def _table(name: str, batches: Iterable[Any], metadata: dict[bytes, bytes] | None) -> RowTable:
    """Batch by batch: a column that repeats one value is a million times smaller in the file."""
    rows: list[dict[str, object]] = []
    limit, read = most_bytes(), 0
    for batch in batches:
        read += batch.nbytes
        if read > limit:
            raise too_large(name, limit)
        rows += batch.to_pylist()
    numbered = tuple(enumerate(rows, start=1))
    return RowTable(name, numbered, label_names=_class_names(metadata or {}))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """From columns to the names of their numbers, as `datasets` notes them in a schema."""
    try:
        features: Any = value_of(metadata[b"huggingface"])["info"]["features"]
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
