"""Trains the winner and its default on parts of the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.execution.job import WorkItem
from sweeper.execution.state import work_items
from sweeper.execution.state.repair import finished_result
from sweeper.features.data_curve.facts import curve_seeds, part_sizes
from sweeper.features.data_curve.options import Options
from sweeper.features.parts import Study

NAME = "data_curve"
# Standard error of the forecast, on a log scale: in two sweeps, confirmation and test took up to a
# fifth less or more than forecast from the search.
_FORECAST_LOG_ERROR = 0.1


def after_test(study: Study) -> None:
    """Make the curve if it is requested, was begun, or is planned and fits into the time left."""
    enabled = study.spec.features.of(Options).enabled
    has_begun = any(study.run.trials.glob("*/rows/*"))
    cost = study.plan.budget.features.get(NAME)
    if enabled is False or (enabled is None and cost is None and not has_begun):
        return
    work = trainings(study)
    is_undecided = not enabled and not has_begun
    if is_undecided and not study.fits(NAME, longest_seconds(study, work)):
        return
    if not work:
        rows = study.plan.searched_rows
        study.warn(f"no data curve: {rows} training rows are too few to train on parts of them")
    study.train(NAME, work)


def trainings(study: Study) -> list[WorkItem]:
    """The trainings of the winner and its default on each number of rows; empty with too few rows.

    All sizes of one seed come before the next seed, so that there is a curve early.
    """
    plan, seal = study.plan, study.seal
    rows = plan.searched_rows
    if not (sizes := part_sizes(rows)):
        return []
    winner = seal.recommended if seal.recommended is not None else seal.order[0]
    candidate = _candidate(study, winner)
    defaults = [
        number for number in _default_trials(study) if _candidate(study, number) == candidate
    ][:1]
    return [
        work_items.training_on_rows(number, size, seed)
        for seed in range(plan.seed, plan.seed + curve_seeds(plan.budget.confirmation_seeds))
        for number in dict.fromkeys([winner, *defaults])
        for size in (*sizes, rows)
        if size < rows or not (seed == plan.seed or finished_result(study.run.seed(number, seed)))
    ]


def _default_trials(study: Study) -> list[int]:
    """The numbers of completed trials of the rule book's defaults."""
    return [
        number
        for number, result in sorted(study.results.items())
        if study.configs[number].origin == "default" and result.state == "COMPLETE"
    ]


def _candidate(study: Study, number: int) -> tuple[str, str]:
    config = study.configs[number]
    return config.strategy, config.model


def longest_seconds(study: Study, work: Sequence[WorkItem]) -> float:
    """Upper bound of the trainings' total time, forecast from the trials' times in the search."""
    rows, seconds = study.plan.searched_rows, 0.0
    for item in work:
        assert item.trial is not None
        result, config = study.results[item.trial], study.configs[item.trial]
        # On fewer rows, a trial that was stopped early may run longer: count all rungs.
        rungs_factor = config.budget.rungs / (result.stopped_at_rung or config.budget.rungs)
        share = (item.rows or rows) / rows
        seconds += result.setup_seconds + result.evaluation_seconds * rungs_factor
        seconds += result.training_seconds * rungs_factor * share
    return seconds / max(1, study.workers) * math.exp(2 * _FORECAST_LOG_ERROR)
