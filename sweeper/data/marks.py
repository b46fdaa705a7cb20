"""The columns that mark a row as made from others, and what keeps such rows out of every split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeper.data.examples import Example, Split
from sweeper.data.table import Fields

MADE_FROM, METHOD = "augmented_from", "augmentation_method"
"""The keys of the rows that a row was made from, with spaces, and how it was made."""

UNKNOWN_METHOD = "another tool"


def marked(example: Example, fields: Fields) -> Example:
    """The example of a row, which knows whether it was made from others."""
    if not fields.get(MADE_FROM) and not fields.get(METHOD):
        return example
    method = str(fields.get(METHOD) or UNKNOWN_METHOD)
    return replace(example, method=method, made_from=keys(fields))


def keys(fields: Fields) -> tuple[str, ...]:
    """The keys of the rows that a row was made from."""
    return tuple(str(fields.get(MADE_FROM) or "").split())


def apart(
    parts: Mapping[Split, Sequence[Example]],
) -> tuple[dict[Split, list[Example]], tuple[Example, ...]]:
    """The originals of every split, and the augmented rows of train.

    Augmented rows of validation and test are in neither: nothing may be scored on them.
    """
    originals = {split: [e for e in rows if not e.method] for split, rows in parts.items()}
    return originals, tuple(e for e in parts["train"] if e.method)
