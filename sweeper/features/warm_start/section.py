"""The report's section on the results of configurations from earlier studies."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Metric
from sweeper.findings.study.model_strategy_pairs import strategy_on_model
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategy_figures import best_of, default_of
from sweeper.plans import ProposedTrial
from sweeper.reporting.document import Report
from sweeper.traits.traits import StrategyOnModel

HEADING = Heading(76, "warm-start", "Warm starts")


class WarmStartResult(Record):
    """The warm start of one candidate from an earlier study, and its result in this run.

    ``trial`` is the trial with this configuration; None before there is one. Values are those of
    the objective.
    """

    strategy: StrategyOnModel
    study: str
    similarity: float
    trial: int | None = None
    value: float | None = None
    default_value: float | None = None
    best_value: float | None = None


class Figures(Record):
    """One entry for each warm start of the plan."""

    starts: tuple[WarmStartResult, ...]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """The results of the plan's warm starts; None without warm starts."""
    proposed = (start for start in run.plan.proposed if start.feature == "warm_start")
    starts = tuple(_result_of(run, start) for start in proposed)
    return Figures(starts=starts) if starts else None


def finding(figures: Figures, report: Report) -> str:
    """A sentence for each warm start."""
    return " ".join(_sentence(start, report.findings.objective) for start in figures.starts)


def _result_of(run: RunFiles, start: ProposedTrial) -> WarmStartResult:
    name = strategy_on_model(run.plan, start)
    trial, best = _trial_of(run, name, start), best_of(run, name)
    default = default_of(run, name)
    return WarmStartResult(
        strategy=name,
        study=start.record["study"],
        similarity=start.record["similarity"],
        trial=trial.config.number if trial else None,
        value=trial.value if trial and trial.completed else None,
        default_value=default.value if default and default.completed else None,
        best_value=best.value if best else None,
    )


def _trial_of(run: RunFiles, name: StrategyOnModel, start: ProposedTrial) -> TrialFiles | None:
    trials = (trial for trial in run.trials if trial.config.strategy == name)
    parameters = start.parameters.items()
    return next((trial for trial in trials if parameters <= trial.config.parameters.items()), None)


def _sentence(start: WarmStartResult, metric: Metric) -> str:
    """One warm start and its result, as a sentence."""
    opening = (
        f"Warm start of {words.strategy(start.strategy)} from {start.study} "
        f"(similarity {words.share(start.similarity)})"
    )
    if start.trial is None:
        return f"{opening}: not tried yet."
    if start.value is None:
        return f"{opening}: trial {start.trial} has its configuration, but was not completed."
    default = ""
    if start.default_value is not None:
        default = f", its default {words.score(start.default_value, metric)}"
    return (
        f"{opening}: trial {start.trial} reached {words.score_with_unit(start.value, metric)}"
        f"{default}, the strategy's best {words.score(start.best_value, metric)}."
    )
