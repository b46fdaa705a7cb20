"""Estimates the time of training the winner on all rows, after a search on a part of them."""

from __future__ import annotations

from sweeper.planning.budget.study_phases import BETWEEN_SECONDS, StudyPhases, default_times
from sweeper.plans import PhaseCost
from sweeper.spec import Spec


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """The cost of training and scoring the recommended candidate on all rows.

    The interval includes the slowest candidate. None if the search has all rows.
    """
    workload = study.workload.on_all_rows
    if workload == study.workload:
        return None
    seconds = [
        default_times(timed.candidate, study.facts, workload).full_trial_seconds(workload)
        + timed.scoring_seconds
        + 2 * BETWEEN_SECONDS
        for timed in study.candidates
    ]
    return PhaseCost(
        title="winner on all rows", seconds=seconds[0], uncertainty=max(seconds) / seconds[0]
    )
