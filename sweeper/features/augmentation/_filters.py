"""Which new rows are kept: the reasons to reject one, each looked for in turn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sweeper.data.examples import Dataset, Example, Split
from sweeper.data.rows import DataRows, FileRow
from sweeper.data.similar import near_earlier, near_later
from sweeper.extras import install_command, needed_for
from sweeper.features.augmentation._methods import Method, subject
from sweeper.features.augmentation._usable import usable

_NUMBER = re.compile(r"\d+")


def rejected(
    made: Mapping[Example, Example], dataset: Dataset, method: Method
) -> dict[Example, str]:
    """The rows that are not to be trained on, each with its reason.

    ``made`` maps each new row to the row of the train split that it resembles.
    """
    train = dataset.splits["train"]
    longest = max(len(subject(row)) for row in train)
    broken = {row: _broken(row, origin, longest, method) for row, origin in made.items()}
    reasons = {row: why for row, why in broken.items() if why}
    reasons |= usable(_left(made, reasons), dataset)[1]
    reasons |= _similar(_left(made, reasons), dataset)
    if dataset.labels:
        labels = drifted(train, _left(made, reasons))
        reasons |= {
            row: f"its text seems to belong to the class {label!r}" for row, label in labels.items()
        }
    return reasons


def _left(made: Iterable[Example], reasons: dict[Example, str]) -> list[Example]:
    return [row for row in made if row not in reasons]


def _broken(row: Example, origin: Example, longest: int, method: Method) -> str:
    """The problem with the form of a row; empty if there is none."""
    text, before = subject(row), subject(origin)
    if len(text) > longest:
        return f"longer than every row of train ({longest:,} characters)"
    if "\n" in text and "\n" not in before:
        return "several lines where its original has one"
    if method.keeps_numbers and sorted(_NUMBER.findall(text)) != sorted(_NUMBER.findall(before)):
        return "its numbers differ from those of its original"
    return ""


def _similar(made: Sequence[Example], dataset: Dataset) -> dict[Example, str]:
    """Rows that are nearly the same as one that is held out, or as an earlier one of train."""
    held: list[tuple[Split, Sequence[Example]]] = [
        ("validation", dataset.splits["validation"]),
        ("test", dataset.splits["test"]),
    ]
    old = [_row("train", row) for row in dataset.splits["train"]]
    apart = [_row(split, row) for split, rows in held for row in rows]
    new = [_row("train", row) for row in made]
    reasons: dict[Example, str] = {}
    for index, _ in near_later(_rows(chain(new, apart))):
        if index < len(new):
            reasons[made[index]] = "nearly the same as a row of validation or test"
    for index, other in near_earlier(_rows(chain(old, new))):
        if index >= len(old):
            what = "a row of train" if other < len(old) else "another new row"
            reasons.setdefault(made[index - len(old)], f"nearly the same as {what}")
    return reasons


def _row(split: Split, example: Example) -> FileRow:
    """The question alone: an answer that stays would make every rewritten question a repetition."""
    asked = Example(example.key, example.line, text=subject(example), label=example.label)
    return FileRow("", split, example.line, {}, asked)


def _rows(rows: Iterable[FileRow]) -> DataRows:
    return DataRows("", "classification", tuple(rows), {})


FOLDS = 5
"""As scikit-learn's cross_val_predict."""


def drifted(train: Sequence[Example], made: Sequence[Example]) -> dict[Example, str]:
    """New rows with the class that they seem to have, where it is another than their own.

    Logistic regression on TF-IDF is trained on the original rows apart from a fifth, which holds
    the row that the new one was made from. Its confidence is used as in confident learning
    (Northcutt et al. 2021, arXiv:1911.00068, section 3.1): a row is of another class if its
    probability there is at least the mean that rows of that class have.

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
    # New rows are scored, not learned from.
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
        row: str(names[best[index]])
        for index, row in enumerate(rows)
        if index >= len(train)
        and names[best[index]] != row.label
        and probabilities[index, best[index]] >= usual[best[index]]
    }
