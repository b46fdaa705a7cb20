"""Configurations of trials of a plan."""

from __future__ import annotations

from typing import Any

from sweeper.execution.next_attempt import configure
from sweeper.plans import Candidate, Plan
from sweeper.trials import Origin, Trial, TrialConfig


def config_of(
    plan: Plan,
    candidate: Candidate,
    parameters: dict[str, Any],
    *,
    number: int,
    attempt: int,
    origin: Origin,
) -> TrialConfig:
    """The configuration of a trial of a candidate."""
    trial = Trial(
        number=number, strategy=candidate.strategy, model=candidate.model, parameters=parameters,
        origin=origin,
    )  # fmt: skip
    return configure(plan, trial, attempt)
