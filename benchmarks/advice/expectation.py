"""How far above the best a configuration's loss is expected to end, before anything is trained.

A prior for ordering configurations of one study, not a forecast of its losses. Knows the plan's
space, nothing of trials.

The constants are fitted to the Tinker sweeps on Tulu 3 (thinking-machines-lab/tinker-cookbook,
``sft_sweep.md``: 17 models, ranks 1 to 128, five rates each, 780 steps), least squares over the
logarithms of the losses, models centred: residual 1.0% of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.plans import Parameter, Quality
from sweeper.spec import Scalar

CAPACITY_RANK = 12.0
CAPACITY_TOKENS = 50_000_000
# The best rate moves by this many decades for each doubling of the rank, up to rank 128, at one
# alpha for all ranks; the plan's prior stands at rank 16.
RATE_PER_DOUBLING = 0.058
RANK_OF_PRIOR = 16
LAST_DOUBLING = 128
DIVERGING_FROM = 0.5


# A percent of the loss is 0.03 to 0.3 points of accuracy (benchmarks/search/tables): here 0.2.
LOSS_PER_POINT = 0.05


@dataclass(frozen=True)
class Constants:
    """What a configuration costs, as a share of the loss.

    Args:
        too_low: For each squared decade below the best rate.
        too_high: For each squared decade above it.
        diverging: For each squared decade beyond half a decade above it, where runs begin to
            diverge.
        capacity: Of a rank: ``capacity * exp(-r / CAPACITY_RANK)`` on those sweeps' 50 million
            answer tokens (100,000 conversations, about 500 tokens each), and in proportion less
            where there is less to learn.
        targets: What other target modules cost beside all linear layers.
    """

    too_low: float
    too_high: float
    diverging: float
    capacity: float
    targets: Mapping[str, float]


FITTED = Constants(
    too_low=0.020,
    too_high=0.122,
    diverging=0.115,
    capacity=0.031,
    # Q,V at rank 8 against all layers: 0.475 to 0.508 on TruthfulQA (torchtune); only an order.
    targets={"qv": 0.010, "qkvo": 0.005, "all-linear": 0.0},
)

# Fitted to nothing. A decade off costs 5% either way; a larger rank holds more (arXiv:2405.09673);
# a base in four bits loses a little (arXiv:2305.14314 finds nothing, no source a gain); prompts
# and adapters stay behind LoRA (arXiv:2106.09685, table 4); LoRA on attention alone stays behind
# all linear layers, even with as many parameters (arXiv:2305.14314, figure 2; Schulman et al.
# 2025, LoRA Without Regret).
PLAIN = Constants(
    too_low=0.05,
    too_high=0.05,
    diverging=0.0,
    capacity=0.01,
    targets={"qv": 0.01, "qkvo": 0.01, "all-linear": 0.0},
)


def expected_excess(
    quality: Quality,
    parameters: Mapping[str, Scalar],
    space: Mapping[str, Parameter],
    learned_tokens: float = CAPACITY_TOKENS,
    constants: Constants = FITTED,
) -> float:
    """The share by which a configuration's loss is expected to exceed the best one's.

    Args:
        quality: Of the strategy in the plan.
        parameters: The configuration; what is left out has its default.
        space: The strategy's parameters in the plan; the prior of ``learning_rate`` is where the
            best rate is expected.
        learned_tokens: Answer tokens of the train split, or its labels.
        constants: What each departure costs.

    Returns:
        0 for the best that can be hoped for; 0.05 means a loss 5% higher.
    """
    chosen = {name: parameter.default for name, parameter in space.items()} | dict(parameters)
    excess = -LOSS_PER_POINT * quality.mean
    excess += constants.targets.get(str(chosen.get("target_modules")), 0.0)
    rank = chosen.get("r")
    if isinstance(rank, int | float) and rank > 0:
        share = min(learned_tokens / CAPACITY_TOKENS, 1.0)
        excess += share * constants.capacity * math.exp(-rank / CAPACITY_RANK)
    return excess + _rate_excess(chosen, space, constants)


def _rate_excess(
    chosen: Mapping[str, Scalar], space: Mapping[str, Parameter], constants: Constants
) -> float:
    rate = space.get("learning_rate")
    if rate is None or rate.prior is None or rate.prior.center is None:
        return 0.0
    best = math.log10(rate.prior.center)
    rank = chosen.get("r")
    if isinstance(rank, int | float) and rank > 0:
        doublings = math.log2(min(rank, LAST_DOUBLING) / RANK_OF_PRIOR)
        best += RATE_PER_DOUBLING * doublings
    value = chosen.get("learning_rate", rate.default)
    decades = math.log10(float(value)) - best
    if decades <= 0:
        return constants.too_low * decades**2
    return (
        constants.too_high * decades**2
        + constants.diverging * max(decades - DIVERGING_FROM, 0.0) ** 2
    )
