"""What a warm start took from earlier studies, and the losses that it reached."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.evidence.gains import best_of, default_of
from sweeper.findings.record import WarmStart
from sweeper.findings.study.metric import objective_metric
from sweeper.findings.study.model_strategy_pairs import pair
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.plans import Hint


def warm_starts(run: RunFiles) -> tuple[WarmStart, ...]:
    """One entry for each hint of the plan."""
    return tuple(_entry(run, hint) for hint in run.plan.hints)


def _entry(run: RunFiles, hint: Hint) -> WarmStart:
    several = len({candidate.model for candidate in run.plan.candidates}) > 1
    strategy = pair(hint.strategy, hint.model) if several else hint.strategy
    tried, best = _tried(run, strategy, hint), best_of(run, strategy)
    default = default_of(run, strategy)
    return WarmStart(
        strategy=strategy,
        study=hint.study,
        similarity=hint.similarity,
        parameters=hint.parameters,
        earlier_loss=run.plan.objective.value(hint.loss),
        trial=tried.config.number if tried else None,
        loss=tried.value if tried and tried.completed else None,
        default_loss=default.value if default and default.completed else None,
        best_loss=best.value if best else None,
    )


def _tried(run: RunFiles, strategy: str, hint: Hint) -> TrialFiles | None:
    for trial in run.trials:
        known = trial.config.parameters
        if trial.config.strategy == strategy and hint.parameters.items() <= known.items():
            return trial
    return None


def warm_start_sentence(run: RunFiles, found: WarmStart) -> str:
    """One warm start and its result, as a sentence."""
    metric = objective_metric(run.plan)
    unit = f" {words.column_unit(metric)}".rstrip()
    opening = (
        f"Warm start of {words.strategy(found.strategy)} from {found.study}, "
        f"{words.share(found.similarity)} alike"
    )
    if found.trial is None:
        return f"{opening}: not tried yet."
    if found.loss is None:
        return f"{opening}: trial {found.trial} tried it and was not completed."
    reached, best = (words.score(one, metric) for one in (found.loss, found.best_loss))
    default = ""
    if found.default_loss is not None:
        default = f", its default {words.score(found.default_loss, metric)}"
    return (
        f"{opening}: trial {found.trial} reached {reached}{unit}{default}, the best of all {best}."
    )
