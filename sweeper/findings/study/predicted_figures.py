"""Figures of a plan that its run has also measured: time, memory and money."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.execution.state.status import Status
from sweeper.findings.study.reading import RunFiles, TrialFiles, finite_value, used_full_budget
from sweeper.hyperparameters import BATCH, TARGET_MODULES
from sweeper.memory.estimate import trial_gib
from sweeper.plans import Candidate, Duration
from sweeper.spec import Scalar
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel

_COMMAND_PHASES = ("download", "conversion")
"""Phases before the workers start, which ``Status.seconds`` leaves out."""


class PredictedFigure(Record):
    """A figure of the plan and its measured value.

    ``what`` is the figure: ``sweep``, the wall-clock time with all planned phases; ``search``,
    from the start to the last trial, with baselines; ``download``, ``conversion`` or a feature's
    phase; ``trial``, the median of ``trials`` full trials; ``memory``, the highest peak of a
    default; ``money``, the price of the devices during the sweep.
    """

    what: str
    title: str = ""
    strategy: StrategyOnModel = NO_STRATEGY
    unit: Literal["s", "GiB", "USD"]
    predicted: float
    low: float
    high: float
    actual: float
    trials: int
    overhead: str = Field(
        "",
        description="part of the planned memory that trials do not measure, as text",
    )
    disturbed: float = Field(
        0.0, ge=0, lt=1, description="share of the time in which other programs had the processor"
    )

    @classmethod
    def of(cls, what: str, planned: Duration, actual: float, **fields: Any) -> PredictedFigure:
        """A figure whose prediction and range are the seconds of ``planned``."""
        ends = {"predicted": planned.seconds, "low": planned.low, "high": planned.high}
        return cls(what=what, actual=actual, **ends, **fields)

    @property
    def factor(self) -> float | None:
        """Measured, less the disturbed share, over predicted; None if nothing was predicted."""
        undisturbed = self.actual * (1 - self.disturbed)
        return undisturbed / self.predicted if self.predicted > 0 else None


def predicted_figures(run: RunFiles) -> Iterator[PredictedFigure]:
    """Every figure of the plan that this run has also measured."""
    yield from _sweep(run)
    for candidate in run.plan.candidates:
        trials = [
            trial
            for trial in run.trials
            if (trial.config.strategy, trial.config.model) == (candidate.strategy, candidate.model)
        ]
        full = [trial for trial in trials if used_full_budget(trial, run.plan.budget.rungs)]
        yield from _trial_seconds(candidate, full)
        yield from _memory(candidate, trials)


def _sweep(run: RunFiles) -> Iterator[PredictedFigure]:
    """The figures of the sweep and its phases, then the money."""
    budget, last = run.plan.budget, run.status
    if last is None or last.phase != "complete" or last.seconds <= 0:
        return
    seconds = last.seconds
    measured, planned, feature_phases = _phase_seconds(run, last), budget.phases, budget.features
    phases_in_search = {name: phase for name, phase in feature_phases.items() if phase.in_search}
    waiting_seconds = math.fsum(result.waited_seconds for result in run.results)
    total_seconds = math.fsum(result.whole_seconds for result in run.results)
    share = min(waiting_seconds / total_seconds, 0.99) if total_seconds > 0 else 0.0

    def figure(what: str, phase: Duration, actual: float, unit: Any = "s") -> PredictedFigure:
        return PredictedFigure.of(
            what,
            phase,
            actual,
            title=f"of the search, {phases_in_search[what].title}"
            if what in phases_in_search
            else "",
            unit=unit,
            trials=sum(trial.ended for trial in run.trials),
            disturbed=0.0 if what in _COMMAND_PHASES else share,
        )

    # The measured search contains the baselines and features' phases; the planned one must, too.
    search_parts = [
        planned[name] for name in ("baselines", "search", *phases_in_search) if name in planned
    ]
    phases = planned | {"search": Duration.sum(search_parts)}
    phases = {name: p for name, p in phases.items() if name in measured and name != "baselines"}
    command_seconds = math.fsum(measured[name] for name in phases if name in _COMMAND_PHASES)
    unplanned = {
        name: s for name, s in measured.items() if name not in (*planned, *_COMMAND_PHASES)
    }
    # The sweep is compared without features' phases that were only planned or only run.
    compared_phases = [
        phase for name, phase in planned.items() if name in measured or name not in feature_phases
    ]
    yield figure(
        "sweep",
        Duration.sum(compared_phases),
        seconds + command_seconds - math.fsum(unplanned.values()),
    )
    for name, phase in phases.items():
        if phase.seconds > 0:
            yield figure(name, phase, measured[name])
    for name, actual in unplanned.items():
        yield figure(name, Duration(seconds=0.0, low=0.0, high=0.0), actual)
    low, usd, high = budget.cost_low_usd, budget.cost_usd, budget.cost_high_usd
    if usd is not None and low is not None and high is not None:
        planned_seconds = math.fsum(
            p.seconds for name, p in planned.items() if name not in _COMMAND_PHASES
        )
        money = figure("money", budget.sweep, usd * seconds / planned_seconds, "USD")
        yield money.model_copy(update={"predicted": usd, "low": low, "high": high})


def _phase_seconds(run: RunFiles, last: Status) -> dict[str, float]:
    """Measured seconds by phase; the search includes the baselines."""
    seconds_by_phase = {name: seconds for name, seconds in last.phases.items() if seconds > 0}
    if "search" in seconds_by_phase:  # the first trials run in parallel with baselines
        seconds_by_phase["search"] += seconds_by_phase.get("baselines", 0.0)
    for trial in run.trials:
        for name, seconds in trial.result.feature_seconds.items():
            seconds_by_phase[name] = seconds_by_phase.get(name, 0.0) + seconds
    return seconds_by_phase


def _trial_seconds(candidate: Candidate, full: list[TrialFiles]) -> Iterator[PredictedFigure]:
    """The median time of full trials, preferably of those with the default's batch and modules."""
    default = _time_parameters(candidate.defaults())
    like_default = [trial for trial in full if _time_parameters(trial.config.parameters) == default]
    chosen = like_default or full
    timed = [(trial, s) for trial in chosen if (s := trial.seconds) is not None and s > 0]
    if not timed:
        return
    waiting_shares = [t.result.waited_seconds / s for t, s in timed]
    yield PredictedFigure.of(
        "trial",
        candidate.duration,
        statistics.median(s for _, s in timed),
        strategy=candidate.strategy,
        unit="s",
        trials=len(timed),
        disturbed=min(statistics.median(waiting_shares), 0.99),
    )


def _time_parameters(parameters: Mapping[str, Scalar]) -> tuple[Scalar | None, ...]:
    """The parameters on which the time of a trial depends most."""
    return tuple(parameters.get(name) for name in (BATCH, TARGET_MODULES))


def _memory(candidate: Candidate, trials: list[TrialFiles]) -> Iterator[PredictedFigure]:
    """The default's peak memory: allocated on a GPU, added to the process on a CPU.

    Trials with other ranks, modules and batches need other amounts than the plan's.
    """
    peaks = [
        peak
        for trial in trials
        if trial.config.origin == "default"
        and (peak := finite_value(trial.result.peak_memory_gib)) is not None
    ]
    if not peaks:
        return
    planned = candidate.memory
    overhead, on_cpu = planned.peak_gib - trial_gib(planned), "process" in planned.parts
    yield PredictedFigure(
        what="memory",
        strategy=candidate.strategy,
        unit="GiB",
        predicted=planned.peak_gib - overhead,
        low=max(0.0, planned.low_gib - overhead),
        high=planned.high_gib - overhead,
        actual=max(peaks),
        overhead=f"{units.gib(overhead)} for {'the process' if on_cpu else 'driver and reserve'}",
        trials=len(peaks),
    )
