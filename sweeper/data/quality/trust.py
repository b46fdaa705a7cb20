"""How far the labels of rows can be trusted: a model that has not seen a row predicts its label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeper.data.labels import folded
from sweeper.data.rows import DataRows
from sweeper.extras import install_command, is_installed

MOST_ROWS, MOST_DECISIONS = 100_000, 10_000_000
"""Rows that are checked, and rows times labels: at most so many, evenly spread. 9,000 rows of 77
labels take 3 seconds."""

FOLDS = 5
FEWEST_ROWS = 50
FEWEST_OF_LABEL = 2 * FOLDS
SEED = 0

ALPHA = 1e-4
"""Weight of the penalty. With 1e-5 three times as many clean rows of banking77 are suspected."""

SUSPECTED = 0.3
"""Trust below which a label is suspected. In banking77 (9,000 rows, 77 classes) that finds 97% of
3% wrong labels and 94% of 20%, and suspects 2.5% of the rows before planting. The filters of
cleanlab find 55% to 87% and 57% to 74% with the same probabilities: they take them for calibrated,
which those of 77 classifiers side by side are not."""

LEAST_SKILL = 0.5
"""Share of the labels that the model must predict, where always the commonest label counts as 0. At
0.04 to 0.08 (query_wellformed) it finds none to 5% of planted wrong labels, from 0.52 on 75% to
all of them."""

MOST_RARE = 0.2
"""Share of the rows that may have a label too rare to be checked. With 600 rows of banking77 it is
more than half, and a sixth of the wrong labels is found; with 1,500 it is 0.5%."""


@dataclass(frozen=True)
class LabelTrust:
    """What the model makes of the labels of the rows at ``checked_places``, in their order.

    Args:
        trust: Probability of each row's own label as a share of that of the likeliest, 0 to 1.
        predicted: The likeliest label of each row.
        confidence: Its probability.
        right: Share of the rows whose own label is the likeliest.
    """

    trust: tuple[float, ...]
    predicted: tuple[str, ...]
    confidence: tuple[float, ...]
    right: float


def why_not(data: DataRows) -> str:
    """Why labels cannot be checked; empty if they can."""
    if not is_installed("sklearn"):
        return f"it needs scikit-learn: {install_command('train')}"
    labels = Counter(row.label for _, row, _ in data.usable if row.label)
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


def checked_places(data: DataRows) -> list[int]:
    """Places of the rows whose labels are checked: of labels with enough rows, or a sample."""
    rows = [(place, row.label) for place, row, _ in data.usable if row.label]
    counts = Counter(label for _, label in rows)
    places = [place for place, label in rows if counts[label] >= FEWEST_OF_LABEL]
    most = min(MOST_ROWS, MOST_DECISIONS // max(1, len(counts)))
    return places[:: max(1, -(-len(places) // most))]


def label_trust(data: DataRows) -> LabelTrust:
    """How far the labels of the rows at ``checked_places`` can be trusted."""
    rows = [data.rows[place] for place in checked_places(data)]
    usual: dict[str, str] = {}
    for label, _ in Counter(row.label for row in rows).most_common():
        usual.setdefault(folded(label), label)
    # Another spelling is no other label.
    labels = tuple(usual[folded(row.label)] for row in rows)
    return cross_validated_trust(tuple(row.input for row in rows), labels)


@lru_cache(maxsize=2)
def cross_validated_trust(texts: tuple[str, ...], given: tuple[str, ...]) -> LabelTrust:
    """The same by cross-validation: TF-IDF of words and word pairs, logistic regression."""
    # Here, since it is optional and slow to load.
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = sorted(set(given))
    number = {label: place for place, label in enumerate(labels)}
    numbers = [number[label] for label in given]
    words, model = _words_and_model(texts)
    features = words.fit_transform(texts)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    likely: Any = cross_val_predict(model, features, numbers, cv=folds, method="predict_proba")
    best = likely.argmax(axis=1)
    return LabelTrust(
        tuple(float(likely[n, own] / likely[n, best[n]]) for n, own in enumerate(numbers)),
        tuple(labels[one] for one in best),
        tuple(map(float, likely.max(axis=1))),
        float((best == numbers).mean()),
    )


def predicted_labels(
    texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]
) -> Sequence[str]:
    """The likeliest labels of other texts, by the words of labelled ones."""
    words, model = _words_and_model(texts)
    found: Sequence[str] = model.fit(words.fit_transform(texts), labels).predict(
        words.transform(asked)
    )
    return found


def _words_and_model(texts: Sequence[str]) -> tuple[Any, Any]:
    # Where no text has a word of two letters, signs stand for words.
    pattern = r"(?u)\b\w\w+\b" if any(map(re.compile(r"\w\w").search, texts)) else r"\S"
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    return (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=pattern),
        SGDClassifier(loss="log_loss", alpha=ALPHA, random_state=SEED),
    )
