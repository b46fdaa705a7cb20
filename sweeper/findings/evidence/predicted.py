"""Planned beside measured figures: times of trials and of the sweep, and peaks.

Knows the plan and the results; corrects nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Literal

from sweeper.findings.record import PredictedFigure
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.rows import is_full, known, result_seconds, trial_seconds
from sweeper.hyperparameters import BATCH, TARGET_MODULES
from sweeper.memory.estimate import trial_gib
from sweeper.plans import Candidate, Duration

Phase = Literal["sweep", "download", "conversion", "own_text", "data_curve", "suite"]
_OWN: tuple[Phase, ...] = ("download", "conversion", "suite")
"""Phases that the command does itself, so that workers' time does not hold them."""


def predictions(run: RunFiles) -> tuple[PredictedFigure, ...]:
    """Every figure of the plan that this run has measured too."""
    found = [*_sweep(run)]
    for candidate in run.plan.candidates:
        trials = [
            trial
            for trial in run.trials
            if (trial.config.strategy, trial.config.model) == (candidate.strategy, candidate.model)
        ]
        full = [trial for trial in trials if is_full(trial, run.plan.budget.rungs)]
        found += [*_seconds(candidate, full), *_memory(candidate, trials)]
    return tuple(found)


def _sweep(run: RunFiles) -> Iterator[PredictedFigure]:
    """The sweep and the command's own phases, without phases that were not planned."""
    planned, seconds = run.plan.budget.sweep, _number(run.status.get("seconds"))
    ended = run.status.get("phase") == "complete"
    if planned is None or not ended or seconds is None:
        return
    trials = len([trial for trial in run.trials if trial.result])
    kept = run.status.get("phases")
    took = kept if isinstance(kept, dict) else {}
    phases = [
        _of_phase(name, phase, actual, trials)
        for name in _OWN
        if (phase := run.plan.budget.phases.get(name)) is not None
        and (actual := _number(took.get(name))) is not None
    ]
    parts = [part.result for trial in run.trials for _, part in trial.parts]
    curve = math.fsum(result_seconds(result) for result in parts)
    # A curve that was asked for later is no part of the plan's sweep.
    other = 0.0 if run.plan.budget.data_curve is not None else curve
    whole = seconds - other + sum(one.actual for one in phases)
    yield _of_phase("sweep", planned, whole, trials)
    yield from phases
    if run.plan.budget.data_curve is not None and curve > 0:
        yield _of_phase("data_curve", run.plan.budget.data_curve, curve, trials)
    wrote = sum(trial.result.own_text_seconds for trial in run.trials if trial.result)
    if run.plan.budget.own_text is not None and wrote > 0:
        yield _of_phase("own_text", run.plan.budget.own_text, wrote, trials)


def _of_phase(what: Phase, planned: Duration, actual: float, trials: int) -> PredictedFigure:
    return PredictedFigure(
        what=what,
        unit="s",
        predicted=planned.seconds,
        low=planned.low,
        high=planned.high,
        actual=actual,
        trials=trials,
    )


def _number(value: object) -> float | None:
    """Of a file that may be damaged: a number above 0, or None."""
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _seconds(candidate: Candidate, full: list[TrialFiles]) -> Iterator[PredictedFigure]:
    """Full trials; those of the default's batch and modules where there are any."""
    alike = [trial for trial in full if _timed(trial) == _timed_default(candidate)]
    chosen = alike or full
    took = [s for trial in chosen if (s := trial_seconds(trial)) is not None and s > 0]
    if not took:
        return
    planned = candidate.duration
    yield PredictedFigure(
        what="trial",
        strategy=candidate.strategy,
        unit="s",
        predicted=planned.seconds,
        low=planned.low,
        high=planned.high,
        actual=statistics.median(took),
        trials=len(took),
    )


def _timed(trial: TrialFiles) -> tuple[object, ...]:
    return tuple(trial.config.parameters.get(name) for name in (BATCH, TARGET_MODULES))


def _timed_default(candidate: Candidate) -> tuple[object, ...]:
    defaults = candidate.defaults()
    return tuple(defaults.get(name) for name in (BATCH, TARGET_MODULES))


def _memory(candidate: Candidate, trials: list[TrialFiles]) -> Iterator[PredictedFigure]:
    """The default's peak, as a trial measures it: allocated on a GPU, a process's growth on a CPU.

    The plan's estimate is of the default; other ranks, modules and batches need other amounts.
    """
    peaks = [
        peak
        for trial in trials
        if trial.config.origin == "default"
        and trial.result
        and (peak := known(trial.result.peak_memory_gib)) is not None
    ]
    if not peaks:
        return
    planned = candidate.memory
    beside = planned.peak_gib - trial_gib(planned)
    yield PredictedFigure(
        what="memory",
        strategy=candidate.strategy,
        unit="GiB",
        predicted=planned.peak_gib - beside,
        low=max(0.0, planned.low_gib - beside),
        high=planned.high_gib - beside,
        actual=max(peaks),
        trials=len(peaks),
    )
