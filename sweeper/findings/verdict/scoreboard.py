"""All models of a study on one split, the best first: what every forest plot and table shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.findings import Findings, TrialRow

Role = Literal["recommended", "trial", "baseline"]


@dataclass(frozen=True)
class ScoredModel:
    """One model with its score.

    Args:
        strategy: Empty for a baseline.
        tied: Whether it cannot be told apart from the chosen model.
    """

    title: str
    score: Interval
    role: Role
    strategy: str = ""
    trial: int | None = None
    tied: bool = False


@dataclass(frozen=True)
class Scoreboard:
    """The scored models of one split. ``caption`` says which scores, and of how many items."""

    metric: Metric
    caption: str
    models: tuple[ScoredModel, ...]


def scoreboard(findings: Findings) -> Scoreboard:
    """The models on the test split; before it was opened, the best trials on validation."""
    models = _tested(findings)
    metric = findings.metric if models else findings.objective
    models = models or _validated(findings)
    models.sort(key=lambda model: metric.worse(model.score.value))
    return Scoreboard(metric, _caption(findings), tuple(models))


def _caption(findings: Findings) -> str:
    if not findings.tested:
        metric = findings.objective
        return f"{words.sentence(words.on_validation(metric))} so far ({metric.direction})"
    metric, decided = findings.metric, findings.verdict
    items = units.plural(decided.test_items or 0, "test item")
    seeds = units.plural(decided.seeds or 1, "seed")
    return f"Test {metric.title} with 95% CI ({metric.direction}): {items}, {seeds} a finalist"


def _tested(findings: Findings) -> list[ScoredModel]:
    decided = findings.verdict
    wanted = decided.recommended_baseline or f"trial-{decided.recommended_trial}"
    decides = decided.kind in ("recommend", "tie")
    near = [c for c in decided.comparisons if c.outcome in ("within noise", "equivalent")]
    tied = {name for c in near for name in (c.first, c.second)}
    several = (decided.seeds or 1) > 1
    models = []
    for model in findings.tested:
        row = findings.trial(model.trial)
        role: Role = "trial" if row else "baseline"
        models.append(
            ScoredModel(
                title=trial_title(row, single=several and model.seeds == 1) if row else model.title,
                score=model.score,
                role="recommended" if decides and model.name == wanted else role,
                strategy=row.strategy if row else "",
                trial=model.trial,
                tied=model.name in tied,
            )
        )
    return models


def trial_title(row: TrialRow, *, single: bool = False) -> str:
    """A trial by its number and strategy; a default is called so.

    Args:
        single: Whether its score is that of one seed, beside others of several.
    """
    default = ", default" if row.origin == "default" else ""
    seeds = ", 1 seed" if single else ""
    return f"trial {row.number} ({words.short(row.strategy)}{default}{seeds})"


def _validated(findings: Findings) -> list[ScoredModel]:
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
