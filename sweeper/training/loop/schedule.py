"""Length, rungs and learning-rate schedule of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeper.spec import Scalar

# Share of the steps, at the end, in which warmup-stable-decay lowers the rate: one rung of eight,
# so that trials are compared at their constant rate at all earlier rungs.
DECAY_SHARE = 1 / 8
# Share of warmup steps: the low end of the usual 5-10%, which leaves the longest stable phase.
WARMUP_SHARE = 0.05


@dataclass(frozen=True)
class Schedule:
    """The learning rate over optimizer steps, as transformers' ``get_scheduler`` takes it."""

    kind: str
    warmup_steps: int
    options: dict[str, Any] = field(default_factory=dict)


def optimizer_steps(examples: int, effective_batch: int, epochs: float) -> int:
    """Number of optimizer steps of ``epochs`` passes; an incomplete batch is a step too."""
    return max(1, math.ceil(epochs * math.ceil(examples / effective_batch)))


def rung_steps(steps: int, rungs: int, every: int = 1) -> dict[int, list[int]]:
    """The rungs at each optimizer step: several if there are fewer steps than rungs.

    Only each ``every``-th rung and the last are included.

    >>> rung_steps(100, 4)
    {25: [1], 50: [2], 75: [3], 100: [4]}
    >>> rung_steps(3, 4)
    {1: [1], 2: [2, 3], 3: [4]}
    >>> rung_steps(100, 8, 4)
    {50: [4], 100: [8]}
    """
    rungs_by_step: dict[int, list[int]] = {}
    for rung in sorted({*range(every, rungs, every), rungs}):
        rungs_by_step.setdefault(max(1, round(rung / rungs * steps)), []).append(rung)
    return rungs_by_step


def schedule(parameters: Mapping[str, Scalar], steps: int) -> Schedule:
    """The schedule of one trial, with warmup as an integer number of optimizer steps.

    ``lr_scheduler_type`` is ``warmup_stable_decay`` unless the trial sets another. Its decay is
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
