"""Estimates the time of a data curve."""

from __future__ import annotations

import math
from dataclasses import replace

from sweeper.features.data_curve.facts import curve_seeds, part_sizes
from sweeper.features.data_curve.options import Options
from sweeper.metrics.objectives import objective_of
from sweeper.planning.budget.study_phases import StudyPhases, default_times
from sweeper.plans import PhaseCost
from sweeper.spec import Spec


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """The cost of training the winner and its default on parts, and the default on all rows.

    None if the curve is off, there are too few rows, or the objective has no curve.
    """
    enabled, sizes = spec.features.of(Options).enabled, part_sizes(study.workload.train_rows)
    if enabled is False or not sizes or not objective_of(spec).at_rungs:
        return None
    seeds = curve_seeds(study.search.confirmation_seeds)
    seconds_by_candidate = []
    for timed in study.candidates:
        times = default_times(timed.candidate, study.facts, study.workload)
        part_seconds = (
            times.full_trial_seconds(replace(study.workload, train_rows=size)) for size in sizes
        )
        # On all rows, the search has trained the default with the first seed.
        all_rows_seconds = (seeds - 1) * timed.default_seconds
        seconds_by_candidate.append(2 * seeds * math.fsum(part_seconds) + all_rows_seconds)
    jobs = 2 * seeds * len(sizes) + seeds - 1
    return PhaseCost(
        title="data curve",
        content="training on parts of the rows",
        flag="--data-curve",
        seconds=study.parallel(math.fsum(seconds_by_candidate) / len(seconds_by_candidate), jobs),
        optional=enabled is None,
    )
