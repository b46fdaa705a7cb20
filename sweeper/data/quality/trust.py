"""How far the labels of rows can be trusted: a model that has not seen a row predicts its label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeper.data.quality.rows import DataRows
from sweeper.extras import install_command, is_installed

MOST_ROWS = 100_000
"""Rows that are judged: so many, evenly spread."""

FOLDS = 5
FEWEST_ROWS = 50
SEED = 0

ALPHA = 1e-4
"""Weight of the penalty. With 1e-5 three times as many clean rows of banking77 are suspected."""

SUSPECTED = 0.2
"""A label is suspected if the likeliest one is five times as likely. In banking77 (9,000 rows, 77
classes) that finds 93% of 3% planted wrong labels and 88% of 20%, and suspects 1.2% of the rows
before planting. cleanlab's filters on the same probabilities find 55% to 87% and 57% to 74%: they
take probabilities for calibrated, which those of 77 classifiers side by side are not."""

LEAST_RIGHT = 0.6
"""Share of the labels that the model must predict: doubts of a model that is mostly wrong say
nothing of the labels. With 20% wrong labels it predicts 67% of those of banking77."""


@dataclass(frozen=True)
class Judged:
    """What the model makes of the labels of the rows at ``judgeable`` places, in their order.

    Args:
        trust: Probability of each row's own label as a share of that of the likeliest, 0 to 1.
        predicted: The likeliest label of each row.
        right: Share of the rows whose own label is the likeliest.
    """

    trust: tuple[float, ...]
    predicted: tuple[str, ...]
    right: float


def why_not(data: DataRows) -> str:
    """Why labels cannot be judged; empty if they can."""
    if not is_installed("sklearn"):
        return f"it needs scikit-learn: {install_command('train')}"
    places = judgeable(data)
    if len(places) < FEWEST_ROWS or len({data.rows[place].label for place in places}) < 2:
        return f"it needs {FEWEST_ROWS} rows, of labels with at least {FOLDS} rows each"
    if (right := judged(data).right) < LEAST_RIGHT:
        return f"words predict {right:.0%} of the labels, too few for a doubt to mean anything"
    return ""


def judgeable(data: DataRows) -> list[int]:
    """Places of the rows that are judged: those whose label enough rows have, or a sample."""
    rows = [(place, row.label) for place, row, _ in data.usable if row.label]
    counts = Counter(label for _, label in rows)
    places = [place for place, label in rows if counts[label] >= 2 * FOLDS]
    return places[:: max(1, -(-len(places) // MOST_ROWS))]


def judged(data: DataRows) -> Judged:
    """Judge the labels of the rows at ``judgeable`` places."""
    rows = [data.rows[place] for place in judgeable(data)]
    return judge_labels(tuple(row.input for row in rows), tuple(row.label for row in rows))


@lru_cache(maxsize=2)
def judge_labels(texts: tuple[str, ...], given: tuple[str, ...]) -> Judged:
    """Judge labels by cross-validation: TF-IDF of words and word pairs, logistic regression."""
    # Here, since it is optional and slow to load.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = sorted(set(given))
    number = {label: place for place, label in enumerate(labels)}
    numbers = [number[label] for label in given]
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    model = SGDClassifier(loss="log_loss", alpha=ALPHA, random_state=SEED)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    likely: Any = cross_val_predict(model, features, numbers, cv=folds, method="predict_proba")
    best = likely.argmax(axis=1)
    return Judged(
        tuple(float(likely[n, own] / likely[n, best[n]]) for n, own in enumerate(numbers)),
        tuple(labels[one] for one in best),
        float((best == numbers).mean()),
    )
