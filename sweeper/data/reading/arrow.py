"""Parquet and Arrow to rows, with the class names that the hub stores in the schema.

Arrow is a stream, as ``save_to_disk`` of `datasets` writes it, or a file (Feather).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sweeper.data.contents import most_bytes, too_large
from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.extras import needed_for
from sweeper.jsontext import value_of

BATCH_ROWS = 1024

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
