"""Names of augmented rows: their columns in files, their source, and their parameter."""

from __future__ import annotations

MADE_FROM, METHOD = "augmented_from", "augmentation_method"
"""Columns of a new row: the keys of its source rows, separated by spaces; and its method."""

UNKNOWN_METHOD = "another tool"
AUGMENTED_ROWS, NONE = "augmented_rows", "none"


def source_of(method: str) -> str:
    """The source under which rows of this method are counted."""
    return f"augmented ({method})"


def is_augmented(source: str) -> bool:
    """Whether rows of this source are augmented."""
    return source.startswith("augmented (")
