"""Learning curves: the prediction of the final loss from the loss at a rung.

Also how much of it is the luck of the items that it was scored on. Pure; lower is better.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sweeper.search.loss_model.observations import Observation
from sweeper.trials import FirstItems

# Before trials have ended: how much the logs of (final loss / loss at a rung) differ between trials
# of one strategy and start. Falls to 0 with the rest of the budget.
# Fitted (Student's t, tasks and groups alike) to recorded trials of five tasks in 18 such groups
# that ended within twice the best of theirs: those of benchmarks/search.
DOUBT_OF_LEFT = 0.12
# As many trials as this belief is worth.
PRIOR_TRIALS = 3.0


def ends(peers: Iterable[Observation], rung: int) -> list[tuple[float, float]]:
    """Loss at a rung and final loss of each completed trial that has both.

    The lowest loss so far predicts the end less well where few items are scored at a rung. The
    peers are to be trials of one length: a shorter one ends with less training.
    """
    return [
        (one.reported[rung], one.cost)
        for one in peers
        if one.complete and one.cost is not None and one.has(rung)
    ]


@dataclass(frozen=True)
class Forecast:
    """The predicted final loss of a trial, as a log.

    Args:
        log_end: The mean.
        doubt: Standard deviation.
        usual: Where the trials that it was judged by ended, on average.
    """

    log_end: float
    doubt: float
    usual: float


def prior_doubt(left: float, luck: float) -> float:
    """The prior uncertainty of a predicted end, before other trials have ended.

    Args:
        left: Share of the budget that is left.
        luck: What the items at the rung add, as a standard deviation.

    Returns:
        A standard deviation of the log of the loss.
    """
    return math.hypot(DOUBT_OF_LEFT * left, luck)


def forecast(loss: float, pairs: Sequence[tuple[float, float]], prior: float) -> Forecast | None:
    """Extrapolate a loss by the mean gain of the trials that ended; None if none did.

    A straight line through their logs saved less in replays, and no loss was lower for it.

    Args:
        loss: At the rung.
        pairs: (loss at the rung, final loss) of completed trials.
        prior: Doubt before any have ended, as a standard deviation.
    """
    logs = [(math.log(early), math.log(end)) for early, end in pairs if early > 0 and end > 0]
    if not logs or loss <= 0:
        return None
    count = len(logs)
    rests = [end - early for early, end in logs]
    mean = statistics.fmean(rests)
    squares = sum((rest - mean) ** 2 for rest in rests)
    variance = (PRIOR_TRIALS * prior**2 + squares) / (PRIOR_TRIALS + count - 1)
    usual = statistics.fmean(end for _, end in logs)
    doubt = math.sqrt(variance * (1 + 1 / count))
    return Forecast(mean + math.log(loss), doubt, usual)


def luck(own: FirstItems | None, others: Sequence[FirstItems | None], easier: float) -> float:
    """How much other items could have changed the difference of two trials.

    A rung scores the first few validation items. Trials are scored on the same ones, so that an
    easy draw flatters all of them; what is left is that one trial finds them easier than another
    does, and that does not shrink as training goes on.

    Standard deviation of the log of a loss, as the mean over pairs of this trial with another; 0
    where nobody told of items, or where they are all that there are.

    Args:
        own: The trial's items at a rung.
        others: Those of other trials, at the same rung.
        easier: What the loss on all items is above that on these.
    """
    if own is None or len(own.each) < 2 or own.loss + easier <= 0:
        return 0.0
    known = [one for one in others if one is not None and one.count == own.count]
    known = [one for one in known if one.loss + easier > 0]
    if not known:
        return 0.0
    # Delta method: an item moves the log of a loss by its share of it. Half of what two differ by.
    levels = np.asarray([one.loss + easier for one in known])
    theirs = np.asarray([one.each for one in known]) / levels[:, None]
    apart = np.asarray(own.each) / (own.loss + easier) - theirs
    unseen = max(0.0, 1 - own.count / max(own.of, own.count))
    squares = apart.var(axis=1, ddof=1) / own.count * unseen / 2
    return math.sqrt(statistics.fmean(squares.tolist()))
