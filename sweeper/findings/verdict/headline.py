"""What a verdict shows: figures of its model, and the scores of all models, best first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from sweeper import units
from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, Metric, TestedModel
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel
from sweeper.trials import Trial


def figure_lines(findings: Findings, number: int) -> list[str]:
    """A completed trial's score on validation and, if it was a finalist, on the test split."""
    trial, finalist = findings.trial(number), findings.finalist(number)
    assert trial is not None
    metric = findings.objective
    title = words.sentence(words.on_validation(metric))
    lines = [f"- {title}: {words.score_with_unit(trial.value, metric)}"]
    if finalist is not None and finalist.test_score is not None:
        score = words.score_with_interval(finalist.test_score, findings.metric)
        lines.append(f"- Test {findings.metric.title}: {score}")
    return lines


def cost_line(findings: Findings) -> str:
    """The recommended trial's costs to train and to use; empty if the use was not measured."""
    trial = findings.recommended
    if trial is None or trial.result.weights_bytes is None:
        return ""
    training, use = _training(findings, trial), _use(findings, trial)
    return f"Cost of trial {trial.number}: to train {training}; to use {use}."


def limits_line(findings: Findings) -> str:
    """The number of limits, and the decisive one if there is one; empty without limits."""
    if not findings.limits:
        return ""
    line = f"{units.plural(len(findings.limits), 'limit applies', 'limits apply')}."
    if limit := findings.decisive_limit:
        return f"{line} This could change the verdict: {limit.text} {limit.action}"
    return line


class HeadlineFigure(NamedTuple):
    """One of the three figures of a verdict. ``pointer`` is its JSON pointer in ``report.json``."""

    name: str
    text: str
    detail: str = ""
    pointer: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.text, self.detail)))


def headline_figures(findings: Findings) -> list[HeadlineFigure]:
    """Score, cost to train and cost to use of the recommended model, or of the best so far."""
    trial, baseline = findings.best, findings.baseline(findings.verdict.recommended_baseline)
    if baseline is not None:
        score = _test_score(findings, findings.tested_model(baseline.name))
        return [score, HeadlineFigure("to fit and score", units.duration(baseline.seconds))]
    if trial is None:
        return []
    finalist = findings.finalist(trial.number)
    if finalist is not None and finalist.test_score is not None:
        score = _test_score(findings, findings.tested_trial(trial.number))
    else:
        metric = findings.objective
        name = words.sentence(words.on_validation(metric))
        text = words.score_with_unit(trial.value, metric)
        pointer = f"/findings/trials/{findings.trials.index(trial)}/result/objective"
        score = HeadlineFigure(name, text, metric.direction_in_words, pointer)
    use = _use(findings, trial)
    return [score, _training(findings, trial), *([use] if use.text else [])]


def _test_score(findings: Findings, model: TestedModel | None) -> HeadlineFigure:
    metric, score = findings.metric, model.score if model else None
    pointer = f"/findings/tested/{findings.tested.index(model)}/score/value" if model else ""
    text = words.score(score.value if score else None, metric, score)
    ends = words.interval_ends(score, metric)
    return HeadlineFigure(f"test {metric.title}", text, f"95% CI {ends}" if ends else "", pointer)


def _training(findings: Findings, trial: Trial) -> HeadlineFigure:
    """Time and peak memory of one training."""
    peak = trial.result.peak_memory_gib
    memory = "" if peak is None else units.gib(peak)
    suffix = " besides the process" if memory and findings.run.device == "cpu" else ""
    return HeadlineFigure("to train", units.duration(trial.seconds), f"{memory}{suffix}")


def _use(findings: Findings, trial: Trial) -> HeadlineFigure:
    """Inference time and size of the weights; without text if neither was measured."""
    size, tested, result = "", findings.tested_trial(trial.number), trial.result
    if result.weights_bytes is not None:
        base = f" and a base of {units.size(result.base_bytes)}" if result.base_bytes else ""
        size = f"{units.size(result.weights_bytes)} of weights{base}"
    if tested is None or tested.seconds_per_thousand is None:
        return HeadlineFigure("to use", size)
    items = "written answers" if tested.generated is not None else "items"
    pace = f"{units.duration(tested.seconds_per_thousand)} per 1,000 {items}"
    return HeadlineFigure("to use", pace, size)


Role = Literal["recommended", "trial", "baseline"]


@dataclass(frozen=True)
class ScoredModel:
    """One model with its score.

    Args:
        strategy: The strategy; empty for a baseline.
        tied: Whether it is among models that cannot be told apart, the chosen one included.
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
    """The models on the test split, best first; on validation before the test is opened."""
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
        trial = findings.trial(model.trial)
        role: Role = "trial" if trial else "baseline"
        models.append(
            ScoredModel(
                title=trial_title(trial, one_seed=has_several_seeds and model.seeds == 1)
                if trial
                else model.title,
                score=model.score,
                role="recommended" if has_recommendation and model.name == recommended else role,
                strategy=trial.strategy if trial else NO_STRATEGY,
                trial=model.trial,
                tied=model.name in tied,
            )
        )
    return models


def trial_title(trial: Trial, *, one_seed: bool = False) -> str:
    """A trial's number and strategy, with "default" if it has the default configuration.

    Args:
        one_seed: Whether its score is of one seed while other scores are of several.
    """
    default = ", default" if trial.config.origin == "default" else ""
    seeds = ", 1 seed" if one_seed else ""
    return f"trial {trial.number} ({words.short(trial.strategy)}{default}{seeds})"


def _validated_models(findings: Findings) -> list[ScoredModel]:
    """The best trial of each strategy and the baselines on validation; none without a trial."""
    best = [
        ScoredModel(
            title=trial_title(trial),
            score=strategy.best_interval or Interval(value=strategy.best_value),
            role="trial",
            strategy=strategy.strategy,
            trial=strategy.best_trial,
        )
        for strategy in findings.strategies
        if strategy.best_value is not None and (trial := findings.trial(strategy.best_trial))
    ]
    return best + [
        ScoredModel(title=baseline.title, score=Interval(value=baseline.objective), role="baseline")
        for baseline in findings.baselines
        if baseline.objective is not None and best
    ]
