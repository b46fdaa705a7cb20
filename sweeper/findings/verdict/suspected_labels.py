"""Test items whose class is probably wrong in the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.findings.study.item_scores import usable
from sweeper.trials import TestScore

# Highest probability of the class in the data for an item to be suspected.
_MAX_CLASS_PROBABILITY = 0.05


def suspected(trainings: Sequence[TestScore], counted: Sequence[int]) -> list[int]:
    """Indices of items whose class is probably wrong, the most certain first.

    All trainings of one configuration predict the same other class, with a probability of at least
    its mean over correctly predicted items of that class: the threshold of confident learning
    (Northcutt et al. 2021, arXiv:1911.00068, section 3.1), with models that saw none of these
    items. The class in the data has at most ``_MAX_CLASS_PROBABILITY``. Otherwise an unsure model
    of a hard task would suspect every other item that it gets wrong (figures: docs/report.md).

    Args:
        counted: Indices of the scored items.
    """
    rows = [
        training
        for training in trainings
        if training.predicted and len(training.predicted) == len(training.item_losses)
    ]
    if not rows or not usable([training.item_losses for training in rows]):
        return []
    predicted = np.array([training.predicted for training in rows])
    label_probability = np.exp(-np.array([training.item_losses for training in rows])).mean(axis=0)
    confidence = np.array([training.confidence for training in rows]).mean(axis=0)
    agreed = (predicted == predicted[0]).all(axis=0)
    wrong = agreed & ~np.array([training.item_scores for training in rows]).astype(bool).any(axis=0)
    right = np.array(rows[0].item_scores, dtype=bool)
    scored = np.isin(np.arange(right.size), counted)
    wrong, right = wrong & scored, right & scored
    items = []
    for item in np.flatnonzero(wrong):
        correct_probabilities = label_probability[right & (predicted[0] == predicted[0][item])]
        confident = correct_probabilities.size and confidence[item] >= correct_probabilities.mean()
        if confident and label_probability[item] <= _MAX_CLASS_PROBABILITY:
            items.append(int(item))
    return sorted(items, key=lambda p: label_probability[p] - confidence[p])
