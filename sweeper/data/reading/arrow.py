"""Reads rows of Parquet and Arrow files, with the class names that `datasets` stores in the schema.

Arrow data is a stream, as ``save_to_disk`` of `datasets` writes it, or a file (Feather).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from sweeper.data.contents import CHUNK_BYTES
from sweeper.data.table import NumberedRow, RowTable
from sweeper.errors import DataError
from sweeper.textfiles import json_value

BATCH_ROWS = 1024
"""At most this many rows are held as Python objects at once."""

_FILE_MAGIC = b"ARROW1"
"""The first bytes of an Arrow file; a stream begins otherwise."""


def read_batches(file: BinaryIO, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of a Parquet or Arrow file.

    Raises:
        DataError: The file is damaged.
    """
    # Imported here, as pyarrow takes a tenth of a second.
    from pyarrow import ArrowException

    try:
        open_batches = _parquet_batches if table.suffix == ".parquet" else _arrow_batches
        schema, batches = open_batches(file)
        table.label_names |= _class_names(schema.metadata or {})
        table.known_columns |= dict.fromkeys(schema.names)
        rows = (
            row
            for batch in batches
            for begin in range(0, batch.num_rows, BATCH_ROWS)
            for row in batch.slice(begin, BATCH_ROWS).to_pylist()
        )
        yield from enumerate(rows, start=1)
    except MemoryError:  # ArrowMemoryError is an ArrowException, too
        raise
    except (ArrowException, OSError, ValueError, NotImplementedError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"this is not a valid {table.suffix[1:].capitalize()} file ({reason})",
            fix="Download or export it again.",
            where=table.name,
            code="damaged-file",
        ) from error


def _parquet_batches(file: BinaryIO) -> tuple[Any, Iterator[Any]]:
    """The schema of a Parquet file, and batches of its rows."""
    from pyarrow import parquet

    # With a buffer, a column is read piece by piece.
    parquet_file = parquet.ParquetFile(file, buffer_size=CHUNK_BYTES)
    return parquet_file.schema_arrow, parquet_file.iter_batches(BATCH_ROWS)


def _arrow_batches(file: BinaryIO) -> tuple[Any, Iterator[Any]]:
    """The schema of an Arrow file or stream, and batches of its rows."""
    from pyarrow import ipc

    magic = file.read(len(_FILE_MAGIC))
    file.seek(0)
    if magic != _FILE_MAGIC:
        stream = ipc.open_stream(file)
        return stream.schema, iter(stream)
    arrow_file = ipc.open_file(file)
    return arrow_file.schema, map(arrow_file.get_batch, range(arrow_file.num_record_batches))


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """From a column to the names of its integer classes, if `datasets` wrote the metadata."""
    try:
        features: Any = json_value(metadata[b"huggingface"])["info"]["features"]
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
