"""New rows whose text a classifier takes for another class than they are said to have.

The classifier is logistic regression on TF-IDF, trained on the original rows apart from a fifth,
which holds the row that the new one was made from. Its confidence is judged as in confident
learning (Northcutt et al. 2021, arXiv:1911.00068, section 3.1): a row is of another class if its
probability there is at least the mean that rows of that class have.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.extras import install_command, needed_for

FOLDS = 5
"""As scikit-learn's cross_val_predict."""


def drifted(train: Sequence[Example], made: Sequence[Example]) -> dict[Example, str]:
    """New rows with the class that they seem to have, where it is another than their own.

    Args:
        train: The original rows, of two classes at least.
        made: New rows of the same classes.

    Raises:
        NotInstalled: scikit-learn is missing.
    """
    with needed_for("The check of labels", install_command("train")):
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_predict
    rows = [*train, *made]
    names, labels = np.unique([row.label for row in rows], return_inverse=True)
    folds = min(FOLDS, len({row.key for row in train}))
    if not made or folds < 2:
        return {}
    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    words.fit([row.text for row in train])
    # New rows are judged and do not teach.
    weights = (np.arange(len(rows)) < len(train)).astype(float)
    with warnings.catch_warnings():  # of classes that a fold lacks
        warnings.simplefilter("ignore")
        probabilities = cross_val_predict(
            LogisticRegression(max_iter=1000),
            words.transform([row.text for row in rows]),
            labels,
            groups=[(row.made_from or (row.key,))[0] for row in rows],
            cv=GroupKFold(folds),
            method="predict_proba",
            params={"sample_weight": weights},
        )
    own = probabilities[np.arange(len(train)), labels[: len(train)]]
    usual = np.array([own[labels[: len(train)] == k].mean() for k in range(len(names))])
    best = probabilities.argmax(axis=1)
    return {
        row: str(names[best[place]])
        for place, row in enumerate(rows)
        if place >= len(train)
        and names[best[place]] != row.label
        and probabilities[place, best[place]] >= usual[best[place]]
    }
