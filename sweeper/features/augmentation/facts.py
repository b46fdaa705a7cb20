"""The fact whether there are augmented rows."""

from __future__ import annotations

from sweeper.features.augmentation._marks import is_augmented
from sweeper.planning.rulebook.fact import FactInput, Value, flag


@flag()
def augmented_data(inputs: FactInput) -> Value:
    """Whether there are augmented rows, made from train rows."""
    return any(map(is_augmented, inputs.data.further_rows))


FACTS = (augmented_data,)
