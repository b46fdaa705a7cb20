"""All models of a study on one split, best first, for forest plots and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.findings import Findings
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel
from sweeper.trials import Trial

Role = Literal["recommended", "trial", "baseline"]


@dataclass(frozen=True)
class ScoredModel:
    """One model with its score.

    Args:
        strategy: The strategy; empty for a baseline.
        tied: Whether it does not differ significantly from the chosen model.
    """

    title: str
    score: Interval
    role: Role
    strategy: StrategyOnModel = NO_STRATEGY
    trial: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class Scoreboard:
    """The scored models of one split. ``caption`` names the score and the number of items."""

    metric: Metric
    caption: str
    models: tuple[ScoredModel, ...]


def scoreboard(findings: Findings) -> Scoreboard:
    """The models on the test split; before it is opened, the best trials on validation."""
    models = _tested_models(findings)
    metric = findings.metric if models else findings.objective
    models = models or _validated_models(findings)
    models.sort(key=lambda model: metric.as_cost(model.score.value))
    return Scoreboard(metric, _caption(findings), tuple(models))


def _caption(findings: Findings) -> str:
    if not findings.tested:
        metric = findings.objective
        return f"{words.sentence(words.on_validation(metric))} so far ({metric.direction_in_words})"
    metric, verdict = findings.metric, findings.verdict
    items = units.plural(verdict.test_items or 0, "test item")
    seeds = units.plural(verdict.seeds or 1, "seed")
    title = f"Test {metric.title} with 95% CI ({metric.direction_in_words})"
    return f"{title}: {items}, {seeds} a finalist"


def _tested_models(findings: Findings) -> list[ScoredModel]:
    verdict = findings.verdict
    recommended = verdict.recommended_baseline or f"trial-{verdict.recommended_trial}"
    has_recommendation = verdict.kind in ("recommend", "tie")
    undecided = [c for c in verdict.comparisons if c.outcome in ("within noise", "equivalent")]
    tied = {name for c in undecided for name in (c.first, c.second)}
    has_several_seeds = (verdict.seeds or 1) > 1
    models = []
    for model in findings.tested:
        row = findings.trial(model.trial)
        role: Role = "trial" if row else "baseline"
        models.append(
            ScoredModel(
                title=trial_title(row, one_seed=has_several_seeds and model.seeds == 1)
                if row
                else model.title,
                score=model.score,
                role="recommended" if has_recommendation and model.name == recommended else role,
                strategy=row.strategy if row else NO_STRATEGY,
                trial=model.trial,
                tied=model.name in tied,
            )
        )
    return models


def trial_title(row: Trial, *, one_seed: bool = False) -> str:
    """A trial's number and strategy, with "default" if it is the default configuration.

    Args:
        one_seed: Whether its score is of one seed while other scores are of several.
    """
    default = ", default" if row.config.origin == "default" else ""
    seeds = ", 1 seed" if one_seed else ""
    return f"trial {row.number} ({words.short(row.strategy)}{default}{seeds})"


def _validated_models(findings: Findings) -> list[ScoredModel]:
    best = [
        ScoredModel(
            title=trial_title(row),
            score=strategy.best_interval or Interval(value=strategy.best_value),
            role="trial",
            strategy=strategy.strategy,
            trial=strategy.best_trial,
        )
        for strategy in findings.strategies
        if strategy.best_value is not None and (row := findings.trial(strategy.best_trial))
    ]
    return best + [
        ScoredModel(title=baseline.title, score=Interval(value=baseline.objective), role="baseline")
        for baseline in findings.baselines
        if baseline.objective is not None and best
    ]
