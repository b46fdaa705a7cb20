"""Which classes of test items are suspected to be wrong."""

import math

from sweeper.findings.study.item_scores import suspected_labels
from sweeper.trials import TestScore

PLACES = range(6)


def score(rows):
    """One training: (true, predicted, p of the given class, p of the predicted class)."""
    return TestScore(
        name="trial-0",
        trial=0,
        metrics={},
        items_sha256="",
        item_scores=tuple(float(true == said) for true, said, *_ in rows),
        item_losses=tuple(-math.log(given) for _, _, given, _ in rows),
        predicted=tuple(said for _, said, *_ in rows),
        confidence=tuple(sure for *_, sure in rows),
    )


def test_a_class_is_suspect_where_all_trainings_are_as_sure_of_another_one():
    right = [(1, 1, 0.9, 0.9), (1, 1, 0.8, 0.8), (0, 0, 0.7, 0.7)]
    first = score([*right, (0, 1, 0.02, 0.97), (0, 1, 0.30, 0.60), (0, 1, 0.04, 0.95)])
    second = score([*right, (0, 1, 0.04, 0.95), (0, 1, 0.30, 0.60), (0, 0, 0.60, 0.60)])
    # item 3: both trainings are surer of class 1 than they are of its items (0.85 on average);
    # item 4: not sure enough; item 5: the trainings do not agree
    assert suspected_labels([first, second], PLACES) == [3]
    assert suspected_labels([first], PLACES) == [3, 5]
    assert suspected_labels([], PLACES) == []
    assert suspected_labels([first], [0, 1, 2, 4, 5]) == [5]
    # sure enough for these classes, but the class in the data is possible, too
    assert suspected_labels([score([*right, (0, 1, 0.06, 0.94)])], PLACES) == []
