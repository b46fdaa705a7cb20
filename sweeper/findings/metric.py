"""Which figure decides, and in which unit: by task, or as the sealed test names it."""

from __future__ import annotations

from sweeper.facts.record import Facts
from sweeper.findings.figures import Metric
from sweeper.spec import Task
from sweeper.trials import TestSeal

_SHARES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "exact_match": "exact match"}


def headline(facts: Facts, seal: TestSeal | None) -> Metric:
    """The metric that models are compared by on the test split."""
    name = seal.headline_metric if seal else default_name(facts.task)
    if name in _SHARES:
        return Metric(name=name, title=_SHARES[name], higher_is_better=True, unit="points")
    higher = seal.higher_is_better if seal else False
    title = "loss" if "loss" in name else name.replace("_", " ")
    unit = loss_unit(facts) if "loss" in name else ""
    return Metric(name=name, title=title, higher_is_better=higher, unit=unit)


def loss_metric(facts: Facts) -> Metric:
    """The loss that validation chose by, as a metric of the test split."""
    return Metric(name="loss", title="loss", higher_is_better=False, unit=loss_unit(facts))


def default_name(task: Task) -> str:
    """Accuracy for classification, loss for text."""
    return "accuracy" if task == "classification" else "loss"


def loss_unit(facts: Facts) -> str:
    """What a validation loss is measured in: the tokens of several base models do not compare."""
    if facts.task == "classification":
        return "nats/decision"
    return "nats/token" if len(facts.models) == 1 else "bits/byte"


def margin(points: float) -> float:
    """The smallest difference that matters, in the metric's own unit.

    A point is a hundredth: of a share for accuracy, of a nat for a loss (one per cent of the
    perplexity), of a bit between base models.
    """
    return points / 100
