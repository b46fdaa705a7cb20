"""Parquet to rows, with the class names that the Hugging Face hub stores in the schema."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from sweeper.data.contents import most_bytes, too_large
from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.extras import needed_for
from sweeper.jsontext import value_of

BATCH_ROWS = 1024


def read_parquet(data: bytes, name: str) -> RowTable:
    """Rows of a Parquet file.

    Raises:
        DataError: It is not a whole Parquet file.
        NotInstalled: pyarrow is missing.
    """
    with needed_for("Parquet", "pip install pyarrow, or export the data as JSONL.", name):
        # Here, since pyarrow takes a tenth of a second that no other format needs.
        from pyarrow import ArrowException
        from pyarrow import parquet as pq
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        rows = rows_of(file.iter_batches(batch_size=BATCH_ROWS), name)
    except MemoryError:
        raise
    except (ArrowException, OSError, ValueError, NotImplementedError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"this is not a whole Parquet file ({reason})",
            fix="Download or export it again.",
            where=name,
        ) from error
    return RowTable(
        name,
        tuple(enumerate(rows, start=1)),
        label_names=class_names(file.schema_arrow.metadata or {}),
    )


def rows_of(batches: Iterable[Any], name: str) -> list[dict[str, object]]:
    """Batch by batch: a column that repeats one value is a million times smaller in the file."""
    rows: list[dict[str, object]] = []
    limit, read = most_bytes(), 0
    for batch in batches:
        read += batch.nbytes
        if read > limit:
            raise too_large(name, limit)
        rows += batch.to_pylist()
    return rows


def class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
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
