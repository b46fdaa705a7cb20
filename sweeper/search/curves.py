"""What the curves at hand tell about an early loss: its noise, and how far it foretells the end.

Pure; all losses are "best so far", lower is better.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeper.search.observations import Observation

# A straight line through fewer ends says nothing about how ends scatter around it.
FEWEST_ENDS = 5
# Before trials have ended: how much the logs of (final loss / loss at a rung) differ between trials
# of one strategy and start, at the start of training; it falls to 0 with the rest of the budget.
# Measured on 15 trials in four such groups of three data sets: 0.14 to 0.24 at a quarter, 0.05 to
# 0.17 at half.
PRIOR_DOUBT = 0.2
# As many trials as this belief is worth.
PRIOR_TRIALS = 3.0
# Third differences of independent noise have twenty times its variance (1 + 9 + 9 + 1); a median
# absolute deviation is 0.6745 of a normal standard deviation.
_THIRD_DIFFERENCE, _MAD = math.sqrt(20), 0.6745


def jitter(seen: Iterable[Observation], rungs: int) -> float:
    """Standard deviation of one rung's loss around its smooth curve, as two trials differ by it.

    From third differences, in which trend and bend cancel. All trials of a study see the same
    batches and are scored on the same items, so that most of what one curve jumps by, all do;
    where two trials of a strategy and start can be compared, only what they do not share counts.
    0 where no curve has four rungs. The last rung is left out: it is scored on more items than
    the others.
    """
    curves = [(one.group, _inner(one, rungs)) for one in seen]
    apart = [
        rest / math.sqrt(2)
        for (group, first), (other, second) in itertools.combinations(curves, 2)
        if group == other
        for rest in _thirds([a - b for a, b in zip(first, second, strict=False)])
    ]
    rests = apart or [rest for _, curve in curves for rest in _thirds(curve)]
    return statistics.median(rests) / _MAD / _THIRD_DIFFERENCE if rests else 0.0


def _inner(one: Observation, rungs: int) -> list[float]:
    return [one.reported[rung] for rung in sorted(one.reported) if rung < rungs]


def _thirds(curve: Sequence[float]) -> list[float]:
    return [
        abs(a - 3 * b + 3 * c - d)
        for a, b, c, d in zip(curve, curve[1:], curve[2:], curve[3:], strict=False)
        if all(map(math.isfinite, (a, b, c, d)))
    ]


def ends(peers: Iterable[Observation], rung: int) -> list[tuple[float, float]]:
    """Loss at a rung and final loss of each completed trial that has both."""
    return [
        (one.curve[rung], one.loss)
        for one in peers
        if one.complete and one.loss is not None and rung in one.curve
    ]


@dataclass(frozen=True)
class Forecast:
    """Where a trial is expected to end, in logs of the loss.

    Args:
        log_end: The mean.
        doubt: Standard deviation.
        usual: Where the trials that it was judged by ended, on average.
    """

    log_end: float
    doubt: float
    usual: float


def forecast(loss: float, left: float, pairs: Sequence[tuple[float, float]]) -> Forecast | None:
    """Extrapolate a loss as those did that ended; None where none did.

    A straight line through logs where enough trials ended, else their mean gain.

    Args:
        loss: At the rung.
        left: Share of the budget that is left.
        pairs: (loss at the rung, final loss) of completed trials.
    """
    logs = [(math.log(early), math.log(end)) for early, end in pairs if early > 0 and end > 0]
    if not logs or loss <= 0:
        return None
    count = len(logs)
    slope = 1.0
    if count >= FEWEST_ENDS and len({early for early, _ in logs}) > 1:
        slope = statistics.linear_regression(*zip(*logs, strict=True)).slope
        slope = min(1.0, max(0.0, slope))
    rests = [end - slope * early for early, end in logs]
    mean = statistics.fmean(rests)
    squares = sum((rest - mean) ** 2 for rest in rests)
    prior = PRIOR_DOUBT * left
    variance = (PRIOR_TRIALS * prior**2 + squares) / (PRIOR_TRIALS + count - 1)
    usual = statistics.fmean(end for _, end in logs)
    doubt = math.sqrt(variance * (1 + 1 / count))
    return Forecast(mean + slope * math.log(loss), doubt, usual)
