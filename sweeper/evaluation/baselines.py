"""Models to beat in classification that cost next to nothing.

Each is fitted on the train split and chosen on validation; the test split is read only when
``evaluate`` is asked for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.backend import Steps, nothing
from sweeper.evaluation.linear_probe import Array, Probe, nll
from sweeper.facts.record import Split
from sweeper.tasks.base import Decisions, Evaluation, Floats
from sweeper.tasks.classification import Classification, class_metrics

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

_TFIDF_PATH = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

_TFIDF_ROWS = 100_000
"""Rows that TF-IDF is fitted on. Measured: 259,000 rows of 390 characters take 3.4 GB of memory."""


class _Classifying(ABC):
    """A baseline that gives log-probabilities of the classes."""

    name: str
    title: str

    def __init__(self, task: Classification) -> None:
        self._task = task

    @abstractmethod
    def log_probabilities(self, split: Split) -> Floats:
        """Shape ``(items, classes)``, natural logarithms."""

    def _targets(self, split: Split) -> list[int]:
        return self._task.targets(self._task.dataset.splits[split])

    def _texts(self, split: Split) -> list[str]:
        return [example.text for example in self._task.dataset.splits[split]]

    def evaluate(self, split: Split) -> Evaluation:
        log_probabilities, targets = self.log_probabilities(split), self._targets(split)
        metrics, scores = class_metrics(log_probabilities, targets)
        losses = nll(log_probabilities, targets)
        weights = np.ones_like(losses)
        decisions = Decisions.of(log_probabilities, targets)
        return Evaluation(losses, weights, scores, metrics, decisions)


class Majority(_Classifying):
    """Every text gets the class frequencies of the train split, one item added to each class."""

    name = "majority"
    title = "majority class"
    note = ""

    def log_probabilities(self, split: Split) -> Floats:
        counts = Counter(self._targets("train"))
        classes = len(self._task.dataset.labels)
        frequencies = np.array([counts[number] + 1.0 for number in range(classes)])
        items = len(self._task.dataset.splits[split])
        return np.tile(np.log(frequencies / frequencies.sum()), (items, 1))


class Tfidf(_Classifying):
    """TF-IDF of words and word pairs with logistic regression; C is chosen on validation."""

    name = "tfidf"
    title = "TF-IDF with logistic regression"

    def __init__(self, task: Classification, underway: Steps = nothing) -> None:
        super().__init__(task)
        self._underway = underway

    @property
    def note(self) -> str:
        rows = len(self._task.dataset.splits["train"])
        part = f", fitted on {_TFIDF_ROWS:,} of {rows:,} rows" if rows > _TFIDF_ROWS else ""
        return f"C = {self._fitted[1].C:g}{part}"

    @cached_property
    def _fitted(self) -> tuple[TfidfVectorizer, LogisticRegression]:
        # Not at the top, as in ``fit_path``.
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
        # The rows of a split are in the order of hashes, so the first ones are a random sample.
        rows = self._task.dataset.splits["train"][:_TFIDF_ROWS]
        train = vectorizer.fit_transform([example.text for example in rows])
        validation = vectorizer.transform(self._texts("validation"))
        targets = self._task.targets(rows)
        best: tuple[float, LogisticRegression] | None = None
        for number, strength in enumerate(_TFIDF_PATH):
            self._underway(number, len(_TFIDF_PATH))
            model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(train, targets)
            loss = nll(self._spread(model, validation), self._targets("validation")).mean()
            if best is None or loss < best[0]:
                best = (loss, model)
            else:
                break
        assert best is not None
        return vectorizer, best[1]

    def _spread(self, model: LogisticRegression, inputs: Any) -> Floats:
        """Log-probabilities over all classes, those that train lacks included."""
        logs = np.full((inputs.shape[0], len(self._task.dataset.labels)), -30.0)
        logs[:, model.classes_] = model.predict_log_proba(inputs)
        return np.asarray(np.maximum(logs, -30.0))

    def log_probabilities(self, split: Split) -> Floats:
        vectorizer, model = self._fitted
        return self._spread(model, vectorizer.transform(self._texts(split)))


class FrozenProbe(_Classifying):
    """Logistic regression on the frozen base model's pooled features.

    Args:
        features: Gives the pooled features ``(items, width)`` of a split.
    """

    name = "probe"
    title = "frozen probe"

    def __init__(
        self, task: Classification, probe: Callable[[], Probe], features: Callable[[Split], Array]
    ) -> None:
        super().__init__(task)
        self._probe = probe
        self._features = features

    @property
    def note(self) -> str:
        return f"{self._task.pooling} pooling, C = {self._probe().strength:g}"

    def log_probabilities(self, split: Split) -> Floats:
        return self._probe().log_probabilities(self._features(split))
