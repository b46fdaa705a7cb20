"""What each class counts in the training loss of a classification with uneven classes.

Knows class numbers. Knows neither texts nor models; validation never uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.errors import UsageError
from sweeper.hyperparameters import CLASS_WEIGHT_POWERS
from sweeper.tasks.base import Floats


def class_weights(how: str, targets: Sequence[int], classes: int) -> Floats | None:
    """The weight of each class, one on average over the train items; None where all are alike.

    A mean of one over the items keeps the size of gradients, and with it the best learning rate.

    Args:
        how: ``balanced`` is scikit-learn's ``class_weight``: rows over classes times the class's
            rows, so that each class counts alike. ``balanced-sqrt`` is its square root, scaled.
        targets: ``(items,)`` class numbers of the train split.
        classes: How many there are; one that never occurs there counts one.

    Returns:
        ``(classes,)``.

    Raises:
        UsageError: There is no such way to weigh.

    >>> class_weights("balanced", [0, 0, 0, 1], 2).round(3).tolist()
    [0.667, 2.0]
    """
    power = next((value for name, value in CLASS_WEIGHT_POWERS.items() if name == how), None)
    if power is None:
        known = ", ".join(CLASS_WEIGHT_POWERS)
        raise UsageError(f"class_weight = {how!r} is not known", fix=f"Use one of {known}.")
    if not power:
        return None
    rows = np.bincount(np.asarray(targets), minlength=classes).astype(np.float64)
    weights = np.ones(classes)
    np.power(rows, -power, out=weights, where=rows > 0)
    scale = rows.sum() / (rows * weights).sum()
    return np.where(rows > 0, weights * scale, 1.0)
