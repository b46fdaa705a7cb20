"""Ranks candidates by their expected quality minus the cost of a trial's time, both in points."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence

from sweeper import units
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import shrunk_to_half
from sweeper.plans import Candidate, MemoryEstimate, Quality, Reason, RunnerUp

# Scale of the cost of a trial's time, log2(1 + seconds / scale). Far below the scale time hardly
# counts; far above, each doubling adds 1. A search of twenty trials of half an hour takes a night.
# A choice of this project.
TIME_SCALE_SECONDS = 1800.0
# Effect of bf16-pure in points. Zamirai et al. 2020, arXiv:2010.06192, abstract: with nearest
# rounding, training purely in bfloat16 was up to 7 points worse than with 32-bit weights, over
# seven applications.
_PURE_BF16 = Quality(mean=-0.5, sd=0.7)
# Effect of Adafactor in points. Shazeer and Stern 2018, arXiv:1804.04235, section 9: close to Adam,
# with learning rates of its own. The plan uses those of AdamW.
_ADAFACTOR = Quality(mean=-0.3, sd=0.5)
# Effect in points of half the default rank or number of virtual tokens. Zhao et al. 2024, GaLore,
# arXiv:2403.03507, table 4: on eight sets of GLUE, LoRA of rank 4 is 0.3 points worse than LoRA of
# rank 8.
_HALVED_DEFAULT = Quality(mean=-0.3, sd=0.3)
# From a number of trials to the gain of the best of them over a default, in points of accuracy, on
# the six classification sets in benchmarks/search/tables: the mean over the defaults of LoRA and of
# full fine-tuning, and its standard deviation at 20 trials.
_GAINS = {1: 0.0, 5: 0.9, 10: 1.4, 20: 1.7}
_GAIN_SD = 1.5
# Gain on text tasks, as a share of the gain in classification. In 60 published sweeps the default's
# loss is 0.19% above the best (benchmarks/advice), and 1% of the loss is 0.03 to 0.3 points: up to
# 0.06 points, or 7% of the gain of 5 trials in classification.
_TEXT_SHARE = 0.1
# Error in points of a gap between a strategy with five trials and one with ten.
_UNEQUAL = _GAINS[10] - _GAINS[5]
#: Used as the id of a rule in reasons that come from the user's earlier runs.
OWN_RUNS = "own-runs"
# Standard deviations from the mean of a normal distribution to an end of its 90% interval.
_Z_90 = 1.645


def setup_effect(setup: Setup) -> Quality:
    """The effect on quality, in points, of a set-up that saves memory: zero or negative."""
    total = Quality(mean=0.0, sd=0.0)
    total = total.plus(_PURE_BF16) if setup.precision == "bf16-pure" else total
    return total.plus(_ADAFACTOR) if setup.optimizer == "adafactor" else total


def lower_default_effect(halvings: float) -> Quality:
    """The effect in points of a rank or a number of virtual tokens below the rules' default.

    Args:
        halvings: Binary logarithm of the rules' default over the lower one.
    """
    return Quality(mean=_HALVED_DEFAULT.mean * halvings, sd=_HALVED_DEFAULT.sd * halvings)


def gap_reason(differences: Sequence[tuple[float, float]], between_tasks: float) -> Reason | None:
    """A strategy's gap to LoRA as measured in the user's own runs; None without any.

    A run may search one of the two strategies for longer. The error from this (``_UNEQUAL``) counts
    once: more runs do not lower it.

    Args:
        differences: Points against LoRA in each run, with their standard error.
        between_tasks: Standard deviation of the gap between tasks.

    >>> str(gap_reason([(2.0, 1.0), (1.0, 1.0)], between_tasks=1.0).gap)
    '+1.5 ± 1.1'
    """
    if not differences:
        return None
    weights = [1 / (error**2 + between_tasks**2) for _, error in differences]
    points = [difference for difference, _ in differences]
    mean = math.fsum(map(operator.mul, weights, points)) / math.fsum(weights)
    variance = 1 / math.fsum(weights)
    if len(points) > 1:
        variance = max(variance, statistics.variance(points) / len(points))
    gap = Quality(mean=round(mean, 4), sd=round(math.hypot(math.sqrt(variance), _UNEQUAL), 4))
    return Reason(
        rule=OWN_RUNS,
        title="Your own runs",
        why=f"The best trials of {units.plural(len(points), 'run')} of this task on models of this "
        f"kind differ from LoRA's by {units.joined([f'{point:+.1f}' for point in points])} points.",
        source="own measurement: sweeper ledger",
        gap=gap,
    )


def risk_of(memory: MemoryEstimate) -> float:
    """The probability that the peak of memory is above the limit.

    >>> estimate = {"peak_gib": 10.0, "low_gib": 9.0, "high_gib": 11.0, "parts": {}}
    >>> risk_of(MemoryEstimate(limit_gib=11.0, **estimate))
    0.05
    """
    sd = max(memory.high_gib - memory.peak_gib, 1e-9) / _Z_90
    return round(0.5 * math.erfc((memory.limit_gib - memory.peak_gib) / sd / math.sqrt(2)), 4)


def worth(candidate: Candidate, points_per_doubling: float) -> float:
    """The expected quality in points, minus the cost of a trial's time at the user's price."""
    return candidate.quality.mean - time_cost(_likely_seconds(candidate), points_per_doubling)


def time_cost(seconds: float, points_per_doubling: float) -> float:
    """The cost of a trial's time in points.

    Args:
        points_per_doubling: Points of quality that justify doubling a trial's time.
    """
    return points_per_doubling * math.log2(1 + seconds / TIME_SCALE_SECONDS)


def _likely_seconds(candidate: Candidate) -> float:
    """Expected seconds of a trial that is repeated if it runs out of memory."""
    return candidate.duration.seconds / (1 - candidate.risk)


def search_gain(trials: int, *, new_head: bool) -> Quality:
    """The expected gain in points of the best of ``trials`` trials over one default.

    Args:
        new_head: Whether the task is classification with a head; text tasks gain less.

    >>> search_gain(1, new_head=True), search_gain(20, new_head=True)
    (Quality(mean=0.0, sd=0.0), Quality(mean=1.7, sd=1.5))
    """
    below = max(number for number in _GAINS if number <= trials)
    above = min((number for number in _GAINS if number >= trials), default=below)
    share = math.log(trials / below) / math.log(above / below) if above > below else 0.0
    mean = _GAINS[below] + share * (_GAINS[above] - _GAINS[below])
    scale = 1.0 if new_head else _TEXT_SHARE
    sd = _GAIN_SD * mean / _GAINS[20]
    return Quality(mean=round(scale * mean, 2), sd=round(scale * sd, 2))


def runner_up(candidates: Sequence[Candidate], factor: float) -> RunnerUp | None:
    """The second candidate compared with the first; None if there is only one.

    Args:
        factor: Factor by which probabilities were too far from a half in earlier runs.
    """
    if len(candidates) < 2:
        return None
    lead, other = candidates[:2]
    points = lead.quality.mean - other.quality.mean
    doublings = time_cost(_likely_seconds(lead), 1) - time_cost(_likely_seconds(other), 1)
    return RunnerUp(
        strategy=other.strategy,
        model=other.model,
        probability=shrunk_to_half(lead.quality.probability_above(other.quality), factor),
        points=round(points, 2),
        break_even_points=round(points / doublings, 2) if points * doublings > 0 else None,
    )
