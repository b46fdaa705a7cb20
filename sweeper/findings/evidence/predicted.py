"""Planned beside measured figures: times of trials and phases, peaks, energy and money."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sweeper import units
from sweeper.findings.record import PredictedFigure
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trial_rows import is_full, known, result_seconds, trial_seconds
from sweeper.hyperparameters import BATCH, TARGET_MODULES
from sweeper.memory.estimate import trial_gib
from sweeper.plans import Budget, Candidate, Duration, Plan
from sweeper.spec import Scalar

_OWN = ("download", "conversion")
_CORE = (*_OWN, "own_text", "baselines", "search", "confirmation", "test")
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
    """The sweep and its phases, without phases that were not planned; then energy and money."""
    planned, seconds = run.plan.budget.sweep, _number(run.status.get("seconds"))
    ended = run.status.get("phase") == "complete"
    if planned is None or not ended or seconds is None:
        return
    took = _took(run)
    waited = math.fsum(result.waited_seconds for result in run.results)
    whole = math.fsum(map(result_seconds, run.results))
    share = min(waited / whole, 0.99) if whole > 0 else 0.0

    def figure(what: Any, phase: Duration, actual: float, unit: Any = "s") -> PredictedFigure:
        return PredictedFigure(
            what=what,
            unit=unit,
            predicted=phase.seconds,
            low=phase.low,
            high=phase.high,
            actual=actual,
            trials=len([trial for trial in run.trials if trial.result]),
            disturbed=0.0 if what in _OWN else share,
        )

    planned_phases = _planned(run.plan.budget)
    phases = {name: p for name, p in planned_phases.items() if p.seconds > 0 and name in took}
    own = math.fsum(took[name] for name in phases if name in _OWN)
    # The sweep is compared without phases that were only planned or only made.
    for name, cost in run.plan.budget.features.items():
        if cost.planned and name not in took:
            planned = _less(planned, cost.duration)
    later = {name: s for name, s in took.items() if name not in (*planned_phases, *_CORE)}
    yield figure("sweep", planned, seconds + own - math.fsum(later.values()))
    for name, phase in phases.items():
        yield figure(name, phase, took[name])
    for name, actual in later.items():
        yield figure(name, Duration(seconds=0.0, low=0.0, high=0.0), actual)
    yield from _bill(run.plan, seconds, figure)


def _less(whole: Duration, part: Duration) -> Duration:
    """A duration without one of its parts."""
    ends = {end: getattr(whole, end) - getattr(part, end) for end in ("seconds", "low", "high")}
    return Duration(**ends)


def _took(run: RunFiles) -> dict[str, float]:
    """Seconds of the phases, as far as known."""
    kept = run.status.get("phases")
    found = kept.items() if isinstance(kept, dict) else ()
    took = {str(name): s for name, value in found if (s := _number(value)) is not None}
    if "search" in took:  # the first trials run beside the baselines
        took["search"] += took.get("baselines", 0.0)
    wrote = math.fsum(trial.result.own_text_seconds for trial in run.trials if trial.result)
    return took | ({"own_text": wrote} if wrote > 0 else {})


def _planned(budget: Budget) -> dict[str, Duration]:
    """The phases that can be compared, in the order of a run."""
    phases = dict(budget.phases)
    begun = phases.pop("beside", None)
    if budget.test is None or begun is None:  # a plan whose start and test split are one figure
        return {name: phases[name] for name in (*_OWN, "own_text") if name in phases}
    parts = (begun, budget.search, *filter(None, (budget.own_text,)))
    sums = {end: sum(getattr(p, end) for p in parts) for end in ("seconds", "low", "high")}
    return phases | {"search": Duration(**sums)}


def _bill(
    plan: Plan, held: float, figure: Callable[..., PredictedFigure]
) -> Iterator[PredictedFigure]:
    """Energy at the devices' board power, and money: as much more as the time was longer."""
    budget = plan.budget
    apart = [p.seconds for p in (budget.download, budget.conversion) if p is not None]
    planned = budget.sweep.seconds - sum(apart) if budget.sweep is not None else 0.0
    if planned <= 0 or budget.gpu_hours is None:
        return
    device_hours, facts = budget.gpu_hours * held / planned, plan.facts.hardware
    for what, unit, each, low, high in (
        ("energy", "kWh", facts.watts, budget.energy_low_kwh, budget.energy_high_kwh),
        ("money", "USD", facts.price_per_gpu_hour, budget.cost_low_usd, budget.cost_high_usd),
    ):
        if each is not None and low is not None and high is not None:
            price = each / 1000 if what == "energy" else each
            middle = Duration(seconds=budget.gpu_hours * price, low=low, high=high)
            yield figure(what, middle, device_hours * price, unit)


def _number(value: object) -> float | None:
    """Of a file that may be damaged: a number above 0, or None."""
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _seconds(candidate: Candidate, full: list[TrialFiles]) -> Iterator[PredictedFigure]:
    """Full trials; those of the default's batch and modules where there are any."""
    default = _timed(candidate.defaults())
    alike = [trial for trial in full if _timed(trial.config.parameters) == default]
    chosen = alike or full
    timed = [(trial, s) for trial in chosen if (s := trial_seconds(trial)) is not None and s > 0]
    if not timed:
        return
    waited = [t.result.waited_seconds / s if t.result else 0.0 for t, s in timed]
    planned = candidate.duration
    yield PredictedFigure(
        what="trial",
        strategy=candidate.strategy,
        unit="s",
        predicted=planned.seconds,
        low=planned.low,
        high=planned.high,
        actual=statistics.median(s for _, s in timed),
        trials=len(timed),
        disturbed=min(statistics.median(waited), 0.99),
    )


def _timed(parameters: Mapping[str, Scalar]) -> tuple[Scalar | None, ...]:
    """The parameters on which the time of a trial depends most."""
    return tuple(parameters.get(name) for name in (BATCH, TARGET_MODULES))


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
    beside, on_cpu = planned.peak_gib - trial_gib(planned), "process" in planned.parts
    yield PredictedFigure(
        what="memory",
        strategy=candidate.strategy,
        unit="GiB",
        predicted=planned.peak_gib - beside,
        low=max(0.0, planned.low_gib - beside),
        high=planned.high_gib - beside,
        actual=max(peaks),
        beside=f"{units.gib(beside)} for {'the process' if on_cpu else 'driver and reserve'}",
        trials=len(peaks),
    )
