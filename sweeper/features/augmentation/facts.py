"""The fact by which trials may train on augmented rows."""

from __future__ import annotations

from sweeper.features.augmentation._marks import is_augmented
from sweeper.planning.rulebook.fact import Scene, Value, flag


@flag()
def augmented_data(scene: Scene) -> Value:
    """Whether there are augmented rows, made from train rows."""
    return any(map(is_augmented, scene.data.further_rows))


FACTS = (augmented_data,)
