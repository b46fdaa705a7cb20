"""Parquet and Arrow to rows, with the class names that the hub stores in the schema.

Arrow is a stream, as ``save_to_disk`` of `datasets` writes it, or a file (Feather).
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


def read_batches(data: bytes, name: str) -> RowTable:
    """Rows of a Parquet or Arrow file.

    Raises:
        DataError: It is not whole.
        NotInstalled: pyarrow is missing.
    """
    table = _table(data, name, most_bytes())
    return replace(table, rows=tuple(table.rows))


def stored_batches(path: Path, name: str) -> RowTable | None:
    """The rows of a large file, which stay in it; None if it has none.

    Raises:
        DataError: It is not whole.
        NotInstalled: pyarrow is missing.
    """
    table = _table(path, name)
    if len(table.named) > MOST_COLUMNS:
        raise too_many_columns(name, 1)
    return table if len(table.rows) else None


def _table(source: Path | bytes, name: str, most: int | None = None) -> RowTable:
    with _whole(name):
        parts = (_parquet if _format(name) == "Parquet" else _arrow)(source)
    labels = _class_names(parts.schema.metadata or {})
    rows = _rows(parts, name, most)
    return RowTable(name, rows, label_names=labels, named=tuple(parts.schema.names))


@dataclass(frozen=True)
class _Parts:
    """What a file consists of.

    Args:
        starts: Where each part begins, and the last one ends, in rows.
        schema: Its columns, with what is noted of them.
        batches: Gives the batches from a part on.
    """

    starts: list[int]
    schema: Any
    batches: Callable[[int], Iterable[Any]]


def _parquet(source: Path | bytes) -> _Parts:
    from pyarrow import parquet

    # With a buffer, a column is read piece by piece.
    file = parquet.ParquetFile(
        source if isinstance(source, Path) else io.BytesIO(source), buffer_size=CHUNK_BYTES
    )
    groups = range(file.metadata.num_row_groups)
    sizes = [file.metadata.row_group(group).num_rows for group in groups]
    return _Parts(
        [*accumulate(sizes, initial=0)],
        file.schema_arrow,
        lambda part: file.iter_batches(BATCH_ROWS, groups[part:]),
    )


def _arrow(source: Path | bytes) -> _Parts:
    from pyarrow import ipc, memory_map

    # A mapped file is not copied.
    data = memory_map(str(source)).read_buffer() if isinstance(source, Path) else source
    if memoryview(data)[: len(_FILE)] != _FILE:
        stream = ipc.open_stream(data)
        rows = sum(batch.num_rows for batch in stream)
        return _Parts([0, rows], stream.schema, lambda _: ipc.open_stream(data))
    file = ipc.open_file(data)
    numbers = range(file.num_record_batches)
    sizes = [file.get_batch(number).num_rows for number in numbers]
    return _Parts(
        [*accumulate(sizes, initial=0)],
        file.schema,
        lambda part: map(file.get_batch, numbers[part:]),
    )


def _rows(parts: _Parts, name: str, most: int | None) -> Stored[Numbered]:
    """Rows that are cheap to ask for in their order: the latest ones are kept.

    No more than ``most`` bytes are read: a column that repeats one value is a million times
    smaller in the file.
    """
    starts = parts.starts

    def blocks(part: int) -> Iterator[tuple[int, list[Fields]]]:
        """Some rows after others, with the place of the first."""
        first, read = starts[part], 0
        with _whole(name):
            for batch in parts.batches(part):
                read += batch.nbytes
                if most is not None and read > most:
                    raise too_large(name, most)
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


def _format(name: str) -> str:
    named = name.lower().removesuffix(".gz")
    return "Parquet" if named.endswith(".parquet") else "Arrow"


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Turn what pyarrow raises about a damaged file into our error."""
    kind = _format(name)
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
