"""The fact whether there are augmented rows, and the names that mark them."""

from __future__ import annotations

from sweeper.planning.rulebook.fact import FactInput, Value, flag

MADE_FROM, METHOD = "augmented_from", "augmentation_method"
"""Columns of a new row: the keys of its source rows, separated by spaces; and its method."""

UNKNOWN_METHOD = "another tool"
"""The method of augmented rows that do not name one."""

AUGMENTED_ROWS, NONE = "augmented_rows", "none"
"""The parameter that selects augmented rows, and its value that selects none."""


def source_of(method: str) -> str:
    """The source under which rows of this method are counted."""
    return f"augmented ({method})"


def is_augmented(source: str) -> bool:
    """Whether rows of this source are augmented."""
    return source.startswith("augmented (")


@flag()
def augmented_data(inputs: FactInput) -> Value:
    """Whether there are augmented rows, made from train rows."""
    return any(map(is_augmented, inputs.data.further_rows))


FACTS = (augmented_data,)
