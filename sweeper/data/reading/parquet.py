"""Parquet to rows, with the class names that the Hugging Face hub stores in the schema."""

from __future__ import annotations

import io
import json
from typing import Any

from sweeper.data.table import Table
from sweeper.errors import DataError
from sweeper.extras import needed_for


def read_parquet(data: bytes, name: str) -> Table:
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
        table = pq.read_table(io.BytesIO(data))
        rows = table.to_pylist()
    except (ArrowException, OSError, ValueError, NotImplementedError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"this is not a whole Parquet file ({reason})",
            fix="Download or export it again.",
            where=name,
        ) from error
    return Table(
        name,
        tuple(enumerate(rows, start=1)),
        label_names=_class_names(table.schema.metadata or {}),
    )


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    try:
        features: Any = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
