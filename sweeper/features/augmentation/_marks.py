"""How files mark augmented rows, what they are counted under, and what chooses them."""

from __future__ import annotations

MADE_FROM, METHOD = "augmented_from", "augmentation_method"
"""The keys of the rows that a row was made from, with spaces, and how it was made."""

UNKNOWN_METHOD = "another tool"
AUGMENTED_ROWS, NONE = "augmented_rows", "none"


def source_of(method: str) -> str:
    """What rows that were made in this way are counted under."""
    return f"augmented ({method})"


def is_augmented(source: str) -> bool:
    """Whether rows that are counted under this are augmented ones."""
    return source.startswith("augmented (")
