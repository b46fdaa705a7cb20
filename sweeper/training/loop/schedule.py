"""Length, rungs and learning-rate schedule of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.spec import Scalar

# The last share of the budget in which warmup-stable-decay anneals: one rung of eight, so that
# all earlier rungs compare runs at their constant rate.
DECAY_SHARE = 1 / 8
# best-practice range of 5-10% of the steps: its low end, which leaves the longest trunk.
WARMUP_SHARE = 0.05


@dataclass(frozen=True)
class Schedule:
    """The learning rate over optimizer steps, as transformers' ``get_scheduler`` takes it."""

    kind: str
    warmup_steps: int
    options: dict[str, Any] = field(default_factory=dict)


def optimizer_steps(examples: int, effective_batch: int, epochs: float) -> int:
    """How many optimizer steps ``epochs`` passes take; an incomplete batch is a step too."""
    return max(1, math.ceil(epochs * math.ceil(examples / effective_batch)))


def rung_steps(steps: int, rungs: int, every: int = 1) -> dict[int, list[int]]:
    """Rungs by optimizer step: several at one step if there are fewer steps than rungs.

    Only every so many rungs are there, and the last.

    >>> rung_steps(100, 4)
    {25: [1], 50: [2], 75: [3], 100: [4]}
    >>> rung_steps(3, 4)
    {1: [1], 2: [2, 3], 3: [4]}
    >>> rung_steps(100, 8, 4)
    {50: [4], 100: [8]}
    """
    at: dict[int, list[int]] = {}
    for rung in sorted({*range(every, rungs, every), rungs}):
        at.setdefault(max(1, round(rung / rungs * steps)), []).append(rung)
    return at


def schedule(parameters: Mapping[str, Scalar], steps: int) -> Schedule:
    """The schedule of one trial, with warmup as an integer number of optimizer steps.

    ``lr_scheduler_type`` is ``warmup_stable_decay`` unless the trial says otherwise. Its decay is
    1 - sqrt over the last eighth, the best of the shapes compared in arXiv:2405.18392.

    Args:
        parameters: May hold ``lr_scheduler_type`` and ``warmup_steps`` or ``warmup_ratio``.
        steps: Optimizer steps of the whole budget.
    """
    kind = str(parameters.get("lr_scheduler_type", "warmup_stable_decay"))
    share = float(parameters.get("warmup_ratio", WARMUP_SHARE))
    warmup = int(parameters.get("warmup_steps", math.ceil(share * steps)))
    warmup = min(warmup, max(0, steps - 1))
    if kind != "warmup_stable_decay":
        return Schedule(kind, warmup)
    decay = min(max(1, round(steps * DECAY_SHARE)), steps - warmup)
    return Schedule(kind, warmup, {"num_decay_steps": decay, "decay_type": "1-sqrt"})
