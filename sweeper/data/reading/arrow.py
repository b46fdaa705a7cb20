"""Arrow to rows: streams, as ``save_to_disk`` of `datasets` writes them, and files (Feather)."""

from __future__ import annotations

from itertools import chain
from typing import Any

from sweeper.data.reading.parquet import class_names, rows_of
from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.extras import needed_for

_FILE = b"ARROW1"
"""How a file begins that is no stream."""


def read_arrow(data: bytes, name: str) -> RowTable:
    """Rows of an Arrow file.

    Raises:
        DataError: It is not a whole Arrow file.
        NotInstalled: pyarrow is missing.
    """
    with needed_for("Arrow", "pip install pyarrow, or export the data as JSONL.", name):
        # Here, since pyarrow takes a tenth of a second that no other format needs.
        from pyarrow import ArrowException, ipc
    try:
        if data.startswith(_FILE):
            file: Any = ipc.open_file(data)
            batches: Any = map(file.get_batch, range(file.num_record_batches))
        else:
            file = batches = ipc.open_stream(data)
        rows = rows_of(chain(batches), name)
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"this is not a whole Arrow file ({reason})",
            fix="Download or export it again.",
            where=name,
        ) from error
    return RowTable(
        name,
        tuple(enumerate(rows, start=1)),
        label_names=class_names(file.schema.metadata or {}),
    )
