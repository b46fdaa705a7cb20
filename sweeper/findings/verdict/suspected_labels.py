"""Test items whose class is probably wrong in the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.findings.study.item_scores import usable
from sweeper.trials import TestScore

# Probability of the class in the data, above which the model itself thinks it possible.
_UNLIKELY = 0.05


def suspected(trainings: Sequence[TestScore], counted: Sequence[int]) -> list[int]:
    """Items whose class is probably wrong, the most certain first.

    All trainings of one configuration predict the same other class, with a probability that is at
    least its mean among the items of that class which are predicted right: the threshold of
    confident learning (Northcutt et al. 2021, arXiv:1911.00068, section 3.1), with models that saw
    none of these items. The class in the data has at most ``_UNLIKELY``: a model that is never
    sure, because its task is hard, would else suspect every other error (docs/report.md has the
    figures).

    Args:
        counted: Places of the items that were scored.
    """
    rows = [
        training
        for training in trainings
        if training.predicted and len(training.predicted) == len(training.item_losses)
    ]
    if not rows or not usable([training.item_losses for training in rows]):
        return []
    predicted = np.array([training.predicted for training in rows])
    given = np.exp(-np.array([training.item_losses for training in rows])).mean(axis=0)
    confidence = np.array([training.confidence for training in rows]).mean(axis=0)
    agreed = (predicted == predicted[0]).all(axis=0)
    wrong = agreed & ~np.array([training.item_scores for training in rows]).astype(bool).any(axis=0)
    right = np.array(rows[0].item_scores, dtype=bool)
    scored = np.isin(np.arange(right.size), counted)
    wrong, right = wrong & scored, right & scored
    items = []
    for item in np.flatnonzero(wrong):
        own = given[right & (predicted[0] == predicted[0][item])]
        sure = own.size and confidence[item] >= own.mean()
        if sure and given[item] <= _UNLIKELY:
            items.append(int(item))
    return sorted(items, key=lambda p: given[p] - confidence[p])
