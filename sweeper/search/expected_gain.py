"""Whether more trials are worth their cost: what the next one is expected to gain, against noise.

Pure; reads a study's trials. Knows nothing about who would stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.objective import LOSS, Objective
from sweeper.search.loss_model.learning_curves import jitter
from sweeper.search.loss_model.loss_model import LEAST_NOISE
from sweeper.search.loss_model.observations import Observation
from sweeper.search.loss_model.untrained import NOTHING, Untrained
from sweeper.search.sampler import SweeperSampler

# A gain below this share of a rung's noise cannot be seen. In replays of four formulas the expected
# gain fell from 0.4 to 0.5 of the noise after 5 trials to 0.1 after about 20, and what was gained
# beyond 0.15 was less than the noise of the final losses.
WORTH_SHARE = 0.15
# Fewer trials cannot tell what gains to expect, whatever the model says.
FEWEST_TRIALS = 10


@dataclass(frozen=True)
class ExpectedGain:
    """What the next trial is expected to bring.

    Args:
        gain: Expected improvement on the best loss, or cost of the objective.
        noise: Standard deviation of one loss against another.
        strategy: Strategy that promises the gain.
        objective: What is improved.
    """

    gain: float
    noise: float
    strategy: str
    objective: Objective = LOSS

    @property
    def worth_it(self) -> bool:
        """Whether the gain could be seen."""
        return self.gain >= WORTH_SHARE * self.noise

    def __str__(self) -> str:
        title = "loss" if self.objective.is_loss else self.objective.title
        verb = "raise" if self.objective.higher_is_better else "lower"
        return (
            f"the next trial is expected to {verb} the {title} by {self.gain:.2g} "
            f"({self.strategy}), where trials differ by {self.noise:.2g} by chance"
        )


def expected_gain(
    sampler: SweeperSampler, seen: Sequence[Observation], untrained: Untrained = NOTHING
) -> ExpectedGain | None:
    """What more trials promise; None while there are too few to say.

    Args:
        seen: All trials of the study.
        untrained: What the sampler knows of models that were not trained.
    """
    ended = [one for one in seen if one.loss is not None]
    kept = [one.loss for one in seen if one.complete and one.keeps and one.loss is not None]
    if len(ended) < FEWEST_TRIALS or not kept:
        return None
    # Where trials report too seldom for their curves to tell, noise is what the model takes it for.
    noise = jitter(seen) or LEAST_NOISE * abs(min(kept))
    promises = sampler.promises(seen, len(seen), untrained)
    if not promises or sampler.untried(seen):
        return None
    best = max(promises, key=lambda key: promises[key].log_gain)
    gain = math.exp(promises[best].log_gain)
    return ExpectedGain(gain, noise, best, sampler.objective)
