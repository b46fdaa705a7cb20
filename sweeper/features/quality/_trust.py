"""How far the labels of rows can be trusted: the other rows predict the label of each row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeper.data.labels import CATCH_ALL, folded
from sweeper.data.rows import DataRows
from sweeper.extras import install_command, is_installed

MOST_ROWS, MOST_DECISIONS = 100_000, 10_000_000
"""Rows that are checked, and rows times labels: at most so many, evenly spread. 9,000 rows of 77
labels take 1.3 to 1.6 seconds of CPU."""

MOST_WORDS = 2**16
"""Words and word pairs that have weights, the commonest ones: half a gigabyte for 1,000 labels."""

FOLDS = 5
FEWEST_ROWS = 50
FEWEST_OF_LABEL = 2 * FOLDS
SEED = 0

EPOCHS = 3
"""Passes over the rows. Until the loss stops falling it is twice the time, and as many wrong labels
are found."""

SUSPECTED, BY_LABELS = 0.25, -0.4
"""Trust below which a label is suspected, or the number of labels to this power if that is less:
with more labels, the likeliest of the others is likelier by chance."""

LEAST_CONFIDENCE = 0.5
"""Probability that another label must have for that."""

CONFIDENT = 0.95
"""Probability from which on a suspected label is replaced, if its trust is also less than a third
of what is suspected. By the probability alone, 89% of the labels that are written in snips7 are
right where 5% were wrong."""

WRONG = 0.2
"""Share of the labels that are taken for random when probabilities are calibrated: without it, few
wrong labels make all probabilities uncertain."""

LEAST_SKILL = 0.5
"""Share of the labels that the model must predict, where always the commonest label counts as 0. In
query_wellformed, where it is 0.1, no planted wrong label can be found."""

MOST_RARE = 0.2
"""Share of the rows that may have a label too rare to be checked. With 600 rows of banking77 it is
more than half, and a sixth of the wrong labels is found; with 1,500 it is 0.5%."""


@dataclass(frozen=True)
class LabelTrust:
    """What the other rows say about the labels of some rows of train.

    Args:
        places: The rows, of labels with enough rows, or a sample of them.
        trust: Probability of each row's own label as a share of that of the likeliest, 0 to 1.
        predicted: The likeliest label of each row.
        confidence: Its probability, calibrated.
        suspected: Whether the own label is probably wrong (``SUSPECTED``, ``LEAST_CONFIDENCE``).
        sure: Whether it is also nearly certain that the likeliest label is right (``CONFIDENT``).
        right: Share of the rows whose own label is the likeliest.
    """

    places: tuple[int, ...]
    trust: tuple[float, ...]
    predicted: tuple[str, ...]
    confidence: tuple[float, ...]
    suspected: tuple[bool, ...]
    sure: tuple[bool, ...]
    right: float


def why_not(data: DataRows) -> str:
    """Why labels cannot be checked; empty if they can."""
    if not is_installed("sklearn"):
        return f"it needs scikit-learn: {install_command('train')}"
    labels = Counter(label for _, label in _sample(data))
    checked = {folded(label) for label, rows in labels.items() if rows >= FEWEST_OF_LABEL}
    if labels.total() < FEWEST_ROWS or len(checked) < 2:
        return f"it needs {FEWEST_ROWS} rows, and two classes with {FEWEST_OF_LABEL} rows or more"
    rare = sum(rows for rows in labels.values() if rows < FEWEST_OF_LABEL)
    if rare > MOST_RARE * labels.total():
        return (
            f"{rare / labels.total():.0%} of the rows have a label with fewer than "
            f"{FEWEST_OF_LABEL} rows"
        )
    right, most = label_trust(data).right, max(labels.values()) / labels.total()
    if right - most < LEAST_SKILL * (1 - most):
        return f"words predict {right:.0%} of the labels, too few to find wrong labels"
    return ""


def _sample(data: DataRows) -> list[tuple[int, str]]:
    """Places and labels of rows of train whose class has a subject of its own."""
    rows = [
        (index, row.label)
        for index, row, _ in data.usable
        if row.split == "train" and row.label and folded(row.label) not in CATCH_ALL
    ]
    most = min(MOST_ROWS, MOST_DECISIONS // max(1, len({label for _, label in rows})))
    return rows[:: max(1, -(-len(rows) // max(1, most)))]


def label_trust(data: DataRows) -> LabelTrust:
    """How far the labels of rows of train can be trusted."""
    rows = _sample(data)
    counts = Counter(label for _, label in rows)
    places = tuple(index for index, label in rows if counts[label] >= FEWEST_OF_LABEL)
    usual: dict[str, str] = {}
    for label, _ in counts.most_common():
        usual.setdefault(folded(label), label)
    # Another spelling is no other label.
    labels = tuple(usual[folded(data.rows[index].label)] for index in places)
    return trust_of(places, tuple(data.rows[index].input for index in places), labels)


@lru_cache(maxsize=2)
def trust_of(places: tuple[int, ...], texts: tuple[str, ...], given: tuple[str, ...]) -> LabelTrust:
    """The trust in the labels of these texts: each fifth is predicted from the others."""
    # Here, since they are optional and slow to load.
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = sorted(set(given))
    numbers = {label: number for number, label in enumerate(labels)}
    own = np.array([numbers[label] for label in given])
    words, model = _words_and_model(texts)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    features = words.fit_transform(texts)
    likely: Any = cross_val_predict(model, features, own, cv=folds, method="predict_proba")
    best = likely.argmax(axis=1)
    trust = likely[np.arange(len(own)), own] / likely.max(axis=1)
    confidence = _calibrated(likely, own).max(axis=1)
    bound = min(SUSPECTED, len(labels) ** BY_LABELS)
    return LabelTrust(
        places,
        tuple(trust.tolist()),
        tuple(labels[number] for number in best),
        tuple(confidence.tolist()),
        tuple(((trust < bound) & (confidence >= LEAST_CONFIDENCE)).tolist()),
        tuple(((trust < bound / 3) & (confidence >= CONFIDENT)).tolist()),
        float((best == own).mean()),
    )


def predicted_labels(
    texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]
) -> Sequence[str]:
    """The likeliest labels of other texts, by the words of labelled ones."""
    words, model = _words_and_model(texts)
    predicted: Sequence[str] = model.fit(words.fit_transform(texts), labels).predict(
        words.transform(asked)
    )
    return predicted


def _words_and_model(texts: Sequence[str]) -> tuple[Any, Any]:
    """TF-IDF of words and word pairs, and logistic regressions, one for each label."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    # Where no text has a word of two letters, signs stand for words.
    pattern = r"(?u)\b\w\w+\b" if any(map(re.compile(r"\w\w").search, texts)) else r"\S"
    return (
        TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=pattern, max_features=MOST_WORDS
        ),
        SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None, random_state=SEED),
    )


def _calibrated(likely: Any, own: Any) -> Any:
    """Probabilities at the temperature at which they predict the labels best.

    Regressions side by side, one for each label, are all unsure of a row with few known words, and
    the more labels there are, the less even the likeliest reaches.
    """
    import numpy as np

    scores = np.log(np.maximum(likely / likely.max(axis=1, keepdims=True), 1e-12))
    rows, labels = np.arange(len(own)), scores.shape[1]

    def fit(temperature: float) -> float:
        tempered = np.exp(scores / temperature)
        right = tempered[rows, own] / tempered.sum(axis=1)
        return float(np.log((1 - WRONG) * right + WRONG / labels).mean())

    tempered = np.exp(scores / max(np.geomspace(0.1, 10, 20), key=fit))
    return tempered / tempered.sum(axis=1, keepdims=True)
