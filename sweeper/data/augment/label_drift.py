"""New rows whose text a classifier takes for another class than they are said to have.

The classifier is logistic regression on TF-IDF, trained on the original rows apart from those that
the new row may have been made from. Its confidence is judged as in confident learning (Northcutt
et al. 2021, arXiv:1911.00068, section 3.1): a row is of another class if its probability there is
at least the mean that rows of that class have.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sweeper.data.examples import Example, digest
from sweeper.extras import install_command, needed_for

FOLDS = 5
"""As scikit-learn's cross_val_predict."""


def drifted(train: Sequence[Example], made: Sequence[Example]) -> dict[Example, str]:
    """New rows with the class that they seem to have, where it is another than their own.

    Args:
        train: The original rows.
        made: New rows of the same classes.

    Raises:
        NotInstalled: scikit-learn is missing.
    """
    if not made or len({row.label for row in train}) < 2:
        return {}
    with needed_for("The check of labels", install_command("train")):
        import numpy as np
    names = sorted({row.label or "" for row in train})
    column = {name: place for place, name in enumerate(names)}
    own: dict[int, list[float]] = defaultdict(list)
    judged: list[tuple[Example, Any]] = []
    for fold in range(FOLDS):
        rest = [row for row in train if _fold(row.key) != fold]
        inside = [row for row in train if _fold(row.key) == fold]
        new = [row for row in made if _fold(_origin(row)) == fold]
        if not inside or len({row.label for row in rest}) < 2:
            continue
        judge = _fitted(rest)
        places = [column[str(name)] for name in judge.classes_]
        scores = np.zeros((len(inside) + len(new), len(names)))
        scores[:, places] = judge.predict_proba([_text(row) for row in (*inside, *new)])
        for row, probabilities in zip(inside, scores, strict=False):
            own[column[row.label or ""]].append(float(probabilities[column[row.label or ""]]))
        judged += zip(new, scores[len(inside) :], strict=True)
    usual = {place: sum(found) / len(found) for place, found in own.items()}
    other: dict[Example, str] = {}
    for row, probabilities in judged:
        best = int(probabilities.argmax())
        if names[best] != row.label and probabilities[best] >= usual.get(best, 1.0):
            other[row] = names[best]
    return other


def _fitted(rows: Sequence[Example]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    judge = make_pipeline(words, LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return judge.fit([_text(row) for row in rows], [row.label for row in rows])


def _fold(key: str) -> int:
    return int(digest(f"fold {key}")[:8], 16) % FOLDS


def _origin(row: Example) -> str:
    return row.made_from[0] if row.made_from else row.key


def _text(row: Example) -> str:
    return row.text.casefold()
