"""Cheap baselines of classification.

Each is fitted on the train split; its regularisation is chosen on validation. The test split is
read only by ``evaluate("test")``.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from sweeper.backend import Steps, no_progress
from sweeper.facts.record import Split
from sweeper.tasks.classification import Classification, class_metrics
from sweeper.tasks.task import Decisions, Evaluation, Floats

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

Array = NDArray[np.float32]

# The inverse regularisation strengths C that are tried, until the validation loss is 2% above the
# lowest.
PATH = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_MAX_ITERATIONS = 300
# The solver's tolerance. Measured on MiniLM features of 9,000 texts in 77 classes: the path takes
# 5.6 s of CPU; with 1e-5 it takes 15 s and with 1e-6 19 s, for a validation loss that is 0.0003
# nats lower. With 1e-3, the solver stops before weak regularisation shows.
_TOLERANCE = 1e-4
# A feature counts as constant if its spread is below this share of the mean spread.
_MIN_SPREAD_SHARE = 1e-5


@dataclass(frozen=True)
class Probe:
    """A fitted linear head.

    Args:
        weight: ``(classes, width)``, for the model's features before standardising.
        bias: ``(classes,)``.
        strength: The inverse regularisation strength C that was chosen.
        losses: From each tried C to its validation loss.
    """

    weight: Array
    bias: Array
    strength: float
    losses: dict[float, float]

    def log_probabilities(self, features: Any) -> NDArray[np.float64]:
        """``(items, classes)``."""
        logits = features.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        return np.asarray(log_softmax(logits, axis=1))


def nll(log_probabilities: NDArray[np.float64], targets: Sequence[int]) -> NDArray[np.float64]:
    """``(items,)`` negative log-likelihood of the true class, in nats."""
    return np.asarray(-log_probabilities[np.arange(len(targets)), np.asarray(targets)])


def fit_path(
    train: Any,
    targets: Sequence[int],
    validation: Any,
    validation_targets: Sequence[int],
    classes: int,
    path: Sequence[float] = PATH,
    class_weights: NDArray[np.float64] | None = None,
    on_progress: Steps = no_progress,
) -> Probe:
    """The best probe of a path from strong to weak regularisation, with warm starts.

    Dense features are standardised, so that one path suits every model, and the scale is folded
    into the weights afterwards. (Validation loss in nats at the best strength, standardised and
    raw: 0.575 and 0.577 on well-formed queries, 0.123 and 0.125 on 7 intents, 0.313 and 0.313 on 77
    intents.)

    Args:
        train: ``(items, width)`` features, dense or sparse.
        validation: ``(items, width)``; the probe with the lowest loss on it is the best.
        validation_targets: ``(items,)``.
        classes: Number of classes; one that never occurs in ``train`` gets almost no probability.
        path: Inverse strengths, ascending.
        class_weights: ``(classes,)`` weights in the fit, not in validation; equal if None.
        on_progress: Callback with the numbers of tried and of all strengths.
    """
    # Imported here, as scikit-learn takes 0.8 s of a worker's start and most tasks have no probe.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    inputs, mean, scale = train, np.zeros(train.shape[1], np.float32), np.float32(1)
    # Constant features are left out: standardised, their rounding noise would get a weight of 1e8.
    # Once training changes such a feature, logits explode (seen with MiniLM).
    if isinstance(train, np.ndarray):
        mean, scale = train.mean(0), train.std(0)
        scale[scale < _MIN_SPREAD_SHARE * scale.mean()] = np.inf
        inputs = np.ascontiguousarray((train - mean) / scale, dtype=np.float32)
    model = LogisticRegression(warm_start=True, max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    item_weights = None if class_weights is None else class_weights[np.asarray(targets)]
    best: Probe | None = None
    losses: dict[float, float] = {}
    for number, strength in enumerate(path):
        on_progress(number, len(path))
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # A solution that has not converged is judged by its validation loss, too.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs, targets, sample_weight=item_weights)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            # scikit-learn gives the log-odds of the second class: each class gets half.
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight = np.zeros((classes, len(mean)), dtype=np.float32)
        bias = np.full(classes, -30.0, dtype=np.float32)
        weight[model.classes_] = coefficients / scale  # for features that are not standardised
        bias[model.classes_] = intercepts - weight[model.classes_] @ mean
        probe = Probe(weight, bias, strength, losses)
        loss = float(nll(probe.log_probabilities(validation), validation_targets).mean())
        losses[strength] = loss
        if best is None or loss < losses[best.strength]:
            best = probe
        elif loss > 1.02 * losses[best.strength]:
            break
    assert best is not None
    return best


_TFIDF_PATH = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""The inverse regularisation strengths C that are tried for TF-IDF."""

_TFIDF_ROWS = 100_000
"""TF-IDF is fitted on at most this many rows: 259,000 rows of 390 characters take 3.4 GB."""


class _ClassBaseline(ABC):
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


class Majority(_ClassBaseline):
    """Predicts the class frequencies of the train split, with one item added to each class."""

    name = "majority"
    title = "majority class"
    note = ""

    def log_probabilities(self, split: Split) -> Floats:
        counts = Counter(self._targets("train"))
        classes = len(self._task.dataset.labels)
        frequencies = np.array([counts[number] + 1.0 for number in range(classes)])
        items = len(self._task.dataset.splits[split])
        return np.tile(np.log(frequencies / frequencies.sum()), (items, 1))


class Tfidf(_ClassBaseline):
    """TF-IDF of words and word pairs with logistic regression; C is chosen on validation."""

    name = "tfidf"
    title = "TF-IDF with logistic regression"

    def __init__(self, task: Classification, on_progress: Steps = no_progress) -> None:
        super().__init__(task)
        self._on_progress = on_progress

    @property
    def note(self) -> str:
        rows = len(self._task.dataset.splits["train"])
        rows_note = f", fitted on {_TFIDF_ROWS:,} of {rows:,} rows" if rows > _TFIDF_ROWS else ""
        return f"C = {self._fitted_models[1].strength:g}{rows_note}"

    @cached_property
    def _fitted_models(self) -> tuple[TfidfVectorizer, Probe]:
        # Imported here, as in ``fit_path``.
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)
        # A split is in the order of hashes, so its first rows are a random sample.
        rows = self._task.dataset.splits["train"][:_TFIDF_ROWS]
        probe = fit_path(
            vectorizer.fit_transform([example.text for example in rows]),
            self._task.targets(rows),
            vectorizer.transform(self._texts("validation")),
            self._targets("validation"),
            len(self._task.dataset.labels),
            _TFIDF_PATH,
            on_progress=self._on_progress,
        )
        return vectorizer, probe

    def log_probabilities(self, split: Split) -> Floats:
        vectorizer, probe = self._fitted_models
        return probe.log_probabilities(vectorizer.transform(self._texts(split)))


class FrozenProbe(_ClassBaseline):
    """Logistic regression on the frozen base model's pooled features.

    Args:
        probe: Function that returns the fitted probe.
        features: Function that returns the pooled features ``(items, width)`` of a split.
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
