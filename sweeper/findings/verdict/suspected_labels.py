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
        one for one in trainings if one.predicted and len(one.predicted) == len(one.item_losses)
    ]
    if not rows or not usable([one.item_losses for one in rows]):
        return []
    predicted = np.array([one.predicted for one in rows])
    given = np.exp(-np.array([one.item_losses for one in rows])).mean(axis=0)
    confidence = np.array([one.confidence for one in rows]).mean(axis=0)
    agreed = (predicted == predicted[0]).all(axis=0)
    wrong = agreed & ~np.array([one.item_scores for one in rows]).astype(bool).any(axis=0)
    right = np.array(rows[0].item_scores, dtype=bool)
    scored = np.isin(np.arange(right.size), counted)
    wrong, right = wrong & scored, right & scored
    found = []
    for place in np.flatnonzero(wrong):
        own = given[right & (predicted[0] == predicted[0][place])]
        sure = own.size and confidence[place] >= own.mean()
        if sure and given[place] <= _UNLIKELY:
            found.append(int(place))
    return sorted(found, key=lambda p: given[p] - confidence[p])
