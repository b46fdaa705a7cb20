"""The headline metric, its unit and bounds: by task, or as named in ``test.json``."""

from __future__ import annotations

import math

from sweeper.facts.record import Facts
from sweeper.findings.findings import Interval, Metric
from sweeper.metrics.metric import metrics
from sweeper.objective import Objective
from sweeper.plans import Plan
from sweeper.trials import TestSeal

# The lowest and highest possible value of a figure.
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
SHARE: Bounds = (0.0, 1.0)
LOSS: Bounds = (0.0, math.inf)


def headline(plan: Plan, seal: TestSeal | None) -> Metric:
    """The metric that models are compared by on the test split.

    Args:
        seal: The content of ``test.json``; None before the test split was opened.
    """
    facts = plan.facts
    if not plan.objective.is_loss:
        return objective_metric(plan)
    default_name = "accuracy" if facts.task == "classification" else "loss"
    name = seal.headline_metric if seal else default_name
    metric = metrics().get(name)
    if metric is not None and metric.unit == "%":
        return Metric(name=name, title=metric.title, higher_is_better=True, unit="points")
    higher = seal.higher_is_better if seal else False
    title = "loss" if "loss" in name else name.replace("_", " ")
    unit = loss_unit(facts) if "loss" in name else ""
    return Metric(name=name, title=title, higher_is_better=higher, unit=unit)


def objective_metric(plan: Plan) -> Metric:
    """The metric by which trials are compared on validation."""
    objective = plan.objective
    if objective.is_loss:
        loss = loss_metric(plan.facts)
        return loss.model_copy(update={"title": objective.title})
    return Metric(
        name=objective.metric,
        title=objective.title,
        higher_is_better=objective.higher_is_better,
        unit="points" if objective.best == 1.0 else "",  # 1 is the best possible share
    )


def objective_interval(objective: Objective, cost: Interval) -> Interval:
    """An interval of costs, converted to values of the objective."""
    ends = [None if end is None else objective.value(end) for end in (cost.low, cost.high)]
    low, high = ends[::-1] if objective.higher_is_better else ends
    return Interval(value=objective.value(cost.value), low=low, high=high, n=cost.n)


def loss_metric(facts: Facts) -> Metric:
    """The loss as a metric."""
    return Metric(name="loss", title="loss", higher_is_better=False, unit=loss_unit(facts))


def loss_unit(facts: Facts) -> str:
    """The unit of the losses; for text, bits per byte if several base models compete."""
    if facts.task == "classification":
        return "nats/decision"
    return "nats/token" if len(facts.models) == 1 else "bits/byte"


def score_bounds(metric: Metric) -> Bounds:
    """The bounds of a metric's score."""
    if metric.unit == "points":
        return SHARE
    return LOSS if "loss" in metric.name else UNBOUNDED


def difference_bounds(metric: Metric) -> Bounds:
    """The bounds of a difference of two scores.

    >>> accuracy = Metric(name="accuracy", title="accuracy", higher_is_better=True, unit="points")
    >>> difference_bounds(accuracy)
    (-1.0, 1.0)
    """
    low, high = score_bounds(metric)
    return low - high, high - low


def bounded(interval: Interval, bounds: Bounds) -> Interval:
    """An interval cut to the possible values.

    Near an end of the scale, an interval may exceed it: a loss under 0, or more than 100 points.
    Cutting it there does not change its coverage.

    >>> cut = bounded(Interval(value=0.017, low=-0.013, high=0.052), LOSS)
    >>> cut.low, cut.high
    (0.0, 0.052)
    """
    if interval.low is None or interval.high is None:
        return interval
    low, high = bounds
    ends = {"low": max(interval.low, low), "high": min(interval.high, high)}
    return interval.model_copy(update=ends)
