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

from sweeper.plan import Parameter
from sweeper.spec import Scalar

# Share of the loss for each squared decade below and above the best rate, and for each squared
# decade beyond half a decade above it, where runs begin to diverge.
TOO_LOW = 0.020
TOO_HIGH = 0.122
DIVERGING = 0.115
DIVERGING_FROM = 0.5

# Share of the loss that a rank costs: CAPACITY * exp(-r / CAPACITY_RANK) on those sweeps' 50
# million answer tokens (100,000 conversations, about 500 tokens each), and in proportion less
# where there is less to learn.
CAPACITY = 0.031
CAPACITY_RANK = 12.0
CAPACITY_TOKENS = 50_000_000
# The best rate moves by this many decades for each doubling of the rank, up to rank 128, at one
# alpha for all ranks; the plan's prior stands at rank 16.
RATE_PER_DOUBLING = 0.058
RANK_OF_PRIOR = 16
LAST_DOUBLING = 128

# What a method costs beside LoRA with everything tuned. QLoRA: median over seven litgpt models of
# its validation loss above LoRA's. The others only order the methods as the PEFT MetaMathQA and
# LLM-Adapters comparisons do; their sizes are not measured as losses.
METHOD = {
    "full": 0.003,
    "lora": 0.0,
    "qlora": 0.016,
    "adapter": 0.010,
    "ptuning": 0.100,
    "prefix": 0.120,
    "head": 0.050,
}
# Q,V at rank 8 against all layers: 0.475 to 0.508 on TruthfulQA (torchtune rows); only an order.
TARGETS = {"qv": 0.010, "qkvo": 0.005, "all-linear": 0.0}


def expected_excess(
    strategy: str,
    parameters: Mapping[str, Scalar],
    space: Mapping[str, Parameter],
    learned_tokens: float = CAPACITY_TOKENS,
) -> float:
    """The share by which a configuration's loss is expected to exceed the best one's.

    Args:
        strategy: A strategy's name; one that is not known costs what LoRA does.
        parameters: The configuration; what is left out has its default.
        space: The strategy's parameters in the plan; the prior of ``learning_rate`` is where the
            best rate is expected.
        learned_tokens: Answer tokens of the train split, or its labels.

    Returns:
        0 for the best that can be hoped for; 0.05 means a loss 5% higher.
    """
    chosen = {name: parameter.default for name, parameter in space.items()} | dict(parameters)
    excess = METHOD.get(strategy, 0.0)
    excess += TARGETS.get(str(chosen.get("target_modules")), 0.0)
    rank = chosen.get("r")
    if isinstance(rank, int | float) and rank > 0:
        share = min(learned_tokens / CAPACITY_TOKENS, 1.0)
        excess += share * CAPACITY * math.exp(-rank / CAPACITY_RANK)
    return excess + _rate_excess(chosen, space)


def _rate_excess(chosen: Mapping[str, Scalar], space: Mapping[str, Parameter]) -> float:
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
        return TOO_LOW * decades**2
    return TOO_HIGH * decades**2 + DIVERGING * max(decades - DIVERGING_FROM, 0.0) ** 2
