"""The fact by which trials may train on augmented rows."""

from __future__ import annotations

from sweeper.features.augmentation._marks import is_augmented
from sweeper.planning.rulebook.fact import Scene, flag


def _augmented(scene: Scene) -> bool:
    return any(map(is_augmented, scene.facts.data.further_rows))


FACTS = (
    flag(
        "augmented_data",
        "there are augmented rows, made from train rows",
        _augmented,
        otherwise="there are no augmented rows",
    ),
)
