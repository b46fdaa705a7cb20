"""Estimates trust in the labels of rows by predicting each label from other rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeper.data.labels import folded
from sweeper.data.rows import DataRows
from sweeper.packages import install_command, is_installed

MAX_ROWS, MAX_DECISIONS = 100_000, 10_000_000
"""Upper limits of rows, and of rows times labels. Above them, every n-th row is checked.
Checking 9,000 rows with 77 labels takes 1.3 to 1.6 seconds of CPU."""

MAX_WORDS = 2**16
"""The most words and word pairs. Their weights take half a gigabyte for 1,000 labels."""

CATCH_ALL = frozenset(
    (
        *("other", "others", "none", "no intent", "none of the above", "misc", "miscellaneous"),
        *("unknown", "unk", "undefined", "unspecified", "general", "default", "n/a", "na"),
        *("fallback", "nlu fallback", "oos", "ood", "out of scope", "out of domain", "outofscope"),
    )
)
"""Folded names of classes that hold what fits no other class, as CLINC150 (`oos`), Rasa
(`nlu_fallback`) and ticket systems name them. Their texts have no subject in common, so words
say nothing about these labels."""

FOLDS = 5
"""Folds of the cross-validation: the labels of each fifth are predicted from the other four."""

MIN_ROWS = 50
MIN_ROWS_OF_LABEL = 2 * FOLDS
SEED = 0

EPOCHS = 3
"""Passes over the rows. Training until the loss stops falling takes twice as long and finds no more
wrong labels."""

MAX_TRUST, LABELS_EXPONENT = 0.25, -0.4
"""A label is suspected if its trust is below ``MAX_TRUST``, and below the number of labels to the
power ``LABELS_EXPONENT``: with more labels, another one is likelier by chance."""

MIN_CONFIDENCE = 0.5
"""Lowest probability of the other label for a label to be suspected."""

MIN_CONFIDENCE_TO_REPLACE = 0.95
"""Lowest probability of a label that replaces a suspected one. The suspected label's trust must
also be below a third of the bound for suspicion: without this, with 5% planted errors in snips7,
only 89% of the replacements were right."""

RANDOM_SHARE = 0.2
"""Share of the labels that calibration assumes to be random. Otherwise a few wrong labels make all
probabilities uncertain."""

MIN_SKILL = 0.5
"""Lowest accuracy, on a scale from always the commonest label (0) to all labels right (1). In
query_wellformed, where it is 0.1, no planted wrong label can be found."""

MAX_RARE_SHARE = 0.2
"""Largest share of rows whose label is too rare to be checked. With 600 rows of banking77 it is
more than half, and a sixth of the wrong labels is found; with 1,500 it is 0.5%."""


@dataclass(frozen=True)
class LabelTrust:
    """Trust in the labels of train rows, by what the other rows predict.

    Args:
        row_indexes: Indexes of the checked rows in the data.
        trust: Probability of each row's own label divided by that of the likeliest, 0 to 1.
        predicted: The likeliest label of each row.
        confidence: The calibrated probability of the likeliest label.
        suspected: Whether the own label is probably wrong (``MAX_TRUST``, ``MIN_CONFIDENCE``).
        certain: Whether the likeliest label is also nearly certain (``MIN_CONFIDENCE_TO_REPLACE``).
        accuracy: Share of the rows whose own label is the likeliest.
    """

    row_indexes: tuple[int, ...]
    trust: tuple[float, ...]
    predicted: tuple[str, ...]
    confidence: tuple[float, ...]
    suspected: tuple[bool, ...]
    certain: tuple[bool, ...]
    accuracy: float


def reason_not_checked(data: DataRows) -> str:
    """Why labels cannot be checked; empty if they can."""
    if not is_installed("sklearn"):
        return f"it needs scikit-learn: {install_command('train')}"
    labels = Counter(label for _, label in _sample(data))
    checked = {folded(label) for label, rows in labels.items() if rows >= MIN_ROWS_OF_LABEL}
    if labels.total() < MIN_ROWS or len(checked) < 2:
        return f"it needs {MIN_ROWS} rows, and two classes with {MIN_ROWS_OF_LABEL} rows or more"
    rare = sum(rows for rows in labels.values() if rows < MIN_ROWS_OF_LABEL)
    if rare > MAX_RARE_SHARE * labels.total():
        return (
            f"{rare / labels.total():.0%} of the rows have a label with fewer than "
            f"{MIN_ROWS_OF_LABEL} rows"
        )
    accuracy, largest_share = label_trust(data).accuracy, max(labels.values()) / labels.total()
    if accuracy - largest_share < MIN_SKILL * (1 - largest_share):
        return f"words predict {accuracy:.0%} of the labels, too few to find wrong labels"
    return ""


def _sample(data: DataRows) -> list[tuple[int, str]]:
    """Indexes and labels of train rows, or of a sample, without catch-all classes."""
    rows = [
        (index, row.label)
        for index, row, _ in data.usable
        if row.split == "train" and row.label and folded(row.label) not in CATCH_ALL
    ]
    max_rows = min(MAX_ROWS, MAX_DECISIONS // max(1, len({label for _, label in rows})))
    return rows[:: max(1, -(-len(rows) // max(1, max_rows)))]


def label_trust(data: DataRows) -> LabelTrust:
    """The trust in the labels of train rows, without rare labels and catch-all classes."""
    rows = _sample(data)
    counts = Counter(label for _, label in rows)
    row_indexes = tuple(index for index, label in rows if counts[label] >= MIN_ROWS_OF_LABEL)
    common_spelling: dict[str, str] = {}
    for label, _ in counts.most_common():
        common_spelling.setdefault(folded(label), label)
    # Spellings of one label are not different labels.
    labels = tuple(common_spelling[folded(data.rows[index].label)] for index in row_indexes)
    return trust_of(row_indexes, tuple(data.rows[index].input for index in row_indexes), labels)


@lru_cache(maxsize=2)
def trust_of(
    row_indexes: tuple[int, ...], texts: tuple[str, ...], own_labels: tuple[str, ...]
) -> LabelTrust:
    """The trust in the own labels of texts, whose labels are predicted by cross-validation."""
    # Imported here, since they are optional and slow to load.
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = sorted(set(own_labels))
    numbers = {label: number for number, label in enumerate(labels)}
    own_numbers = np.array([numbers[label] for label in own_labels])
    vectorizer, model = _vectorizer_and_model(texts)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    features = vectorizer.fit_transform(texts)
    probabilities: Any = cross_val_predict(
        model, features, own_numbers, cv=folds, method="predict_proba"
    )
    best = probabilities.argmax(axis=1)
    trust = probabilities[np.arange(len(own_numbers)), own_numbers] / probabilities.max(axis=1)
    confidence = _calibrated_probabilities(probabilities, own_numbers).max(axis=1)
    bound = min(MAX_TRUST, len(labels) ** LABELS_EXPONENT)
    return LabelTrust(
        row_indexes,
        tuple(trust.tolist()),
        tuple(labels[number] for number in best),
        tuple(confidence.tolist()),
        tuple(((trust < bound) & (confidence >= MIN_CONFIDENCE)).tolist()),
        tuple(((trust < bound / 3) & (confidence >= MIN_CONFIDENCE_TO_REPLACE)).tolist()),
        float((best == own_numbers).mean()),
    )


def predicted_labels(
    texts: Sequence[str], labels: Sequence[str], unlabelled: Sequence[str]
) -> Sequence[str]:
    """The likeliest labels of unlabelled texts, by the words of labelled ones."""
    vectorizer, model = _vectorizer_and_model(texts)
    predicted: Sequence[str] = model.fit(vectorizer.fit_transform(texts), labels).predict(
        vectorizer.transform(unlabelled)
    )
    return predicted


def _vectorizer_and_model(texts: Sequence[str]) -> tuple[Any, Any]:
    """TF-IDF of words and word pairs, and logistic regressions, one for each label."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    # If no text has a word of two letters, single characters are the words.
    pattern = r"(?u)\b\w\w+\b" if any(map(re.compile(r"\w\w").search, texts)) else r"\S"
    return (
        TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=pattern, max_features=MAX_WORDS
        ),
        SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None, random_state=SEED),
    )


def _calibrated_probabilities(probabilities: Any, own_numbers: Any) -> Any:
    """The probabilities, scaled with the temperature at which they predict the labels best.

    One regression for each label gives low probabilities for a row with few known words, and lower
    ones for more labels.
    """
    import numpy as np

    scores = np.log(np.maximum(probabilities / probabilities.max(axis=1, keepdims=True), 1e-12))
    rows, labels = np.arange(len(own_numbers)), scores.shape[1]

    def log_likelihood(temperature: float) -> float:
        tempered = np.exp(scores / temperature)
        own_probabilities = tempered[rows, own_numbers] / tempered.sum(axis=1)
        return float(np.log((1 - RANDOM_SHARE) * own_probabilities + RANDOM_SHARE / labels).mean())

    tempered = np.exp(scores / max(np.geomspace(0.1, 10, 20), key=log_likelihood))
    return tempered / tempered.sum(axis=1, keepdims=True)
