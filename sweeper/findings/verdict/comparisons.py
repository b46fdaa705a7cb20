"""The comparisons on the test split, their outcomes, and the models whose answers are shown.

The order of the finalists and the recommended one were fixed on validation; this module only
compares scores on the opened test split. Items are paired; the variance of seeds is pooled over
finalists. Holm's correction is made for two questions separately: whether the chosen finalist is
better than the others and the default, and whether a finalist is better than a baseline. The second
correction counts the pairs of all finalists, because the chosen one was selected among them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import Field

from sweeper.artifact import Record
from sweeper.evaluation.significance import Scores
from sweeper.findings.findings import Comparison, Finalist, Metric
from sweeper.findings.study.item_scores import (
    TestScores,
    model_title,
    scores_by_model,
    test_losses,
    test_scores,
    trial_name,
)
from sweeper.findings.study.metric import headline, loss_metric
from sweeper.findings.study.paired_trials import compare
from sweeper.findings.study.reading import RunFiles, finite_value
from sweeper.findings.study.strategy_figures import default_of, finalists
from sweeper.objective import Objective
from sweeper.trials import BaselineResult


@dataclass(frozen=True)
class FinalistComparisons:
    """The comparisons of the chosen finalist on the test split, and the compared models.

    Args:
        chosen: The finalist recommended on validation: the cheapest that is not clearly worse.
        rivals: The other finalists, the best on validation first.
        default: The default trial of the chosen one's strategy, if that is another trial.
        baselines: Baselines with a test score, or all if there are none yet; the best on validation
            first. Reference models (answers of models elsewhere) are compared, but not listed here.
        in_loss: The chosen finalist against its default and the baselines in test loss, only if the
            headline metric is not a loss. The loss uses the model's confidence and often decides
            what accuracy leaves open. This is a second test of the same question, so Holm's
            correction also counts the headline comparisons.
    """

    metric: Metric
    chosen: Finalist | None
    rivals: tuple[Finalist, ...]
    default: str | None
    baselines: tuple[BaselineResult, ...]
    comparisons: tuple[Comparison, ...]
    in_loss: tuple[Comparison, ...] = ()

    @property
    def rival(self) -> Finalist | None:
        """The best finalist on validation other than the chosen one."""
        return next(iter(self.rivals), None)

    @property
    def baseline(self) -> BaselineResult | None:
        """The best baseline of ``compared``, or of all baselines if that is empty."""
        return next(iter(self.compared or self.baselines), None)

    @property
    def compared(self) -> tuple[BaselineResult, ...]:
        """The baselines that scored the same test items as the chosen finalist."""
        return tuple(model for model in self.baselines if self.against(model.name) is not None)

    @property
    def unbeaten(self) -> BaselineResult | None:
        """The best baseline that the chosen finalist is not shown to beat."""
        return next((model for model in self.compared if not self.beats(model)), None)

    @property
    def seeds(self) -> int:
        """The fewest trainings with a test score among the finalists that are compared."""
        finalists = [model for model in (self.chosen, *self.rivals) if model is not None]
        trained = [[s for s in model.seeds if s.test_score is not None] for model in finalists]
        return min(map(len, trained), default=0)

    def beats(self, baseline: BaselineResult) -> bool:
        """Whether the chosen finalist is better; in test loss if the headline is within noise."""
        headline = self.against(baseline.name)
        in_loss = self.against(baseline.name, in_loss=True)
        outcome = headline.outcome if headline else None
        is_better_in_loss = in_loss is not None and in_loss.outcome == "better"
        return outcome == "better" or (outcome == "within noise" and is_better_in_loss)

    def against(self, name: str | None, *, in_loss: bool = False) -> Comparison | None:
        """The chosen finalist's comparison with a model; None if there is none."""
        comparisons = self.in_loss if in_loss else self.comparisons
        return next((c for c in comparisons if c.second == name), None)


@lru_cache(maxsize=1)
def compare_finalists(run: RunFiles) -> FinalistComparisons:
    """Compare the chosen finalist with its rivals, its default and every baseline."""
    metric = headline(run.plan, run.seal)
    ranked = finalists(run)
    chosen = _chosen(run, ranked)
    rivals = [model for model in ranked if chosen is not None and model.trial != chosen.trial]
    default = _default_name(run, chosen)
    scores = test_scores(run)
    rival_names = [trial_name(model.trial) for model in rivals]
    own_baselines = [baseline for baseline in run.baselines if not baseline.reference]
    scored = [baseline for baseline in own_baselines if baseline.name in scores.by_name]
    baselines = _ranked(scored or own_baselines, metric, run.plan.objective)
    references = [baseline.name for baseline in run.baselines if baseline.reference]
    baseline_names = [model.name for model in baselines]
    trial_names = [*rival_names, *([default] if default and default not in rival_names else [])]
    compared = (
        *_compare(run, metric, scores, chosen, trial_names),
        *_compare(run, metric, scores, chosen, baseline_names, rival_names),
        *_compare(run, metric, scores, chosen, references),
    )
    # Two questions, as in the headline metric: is it better than a baseline, and than its default?
    own_default = [default] if default else []
    in_loss = (
        *_loss_comparisons(
            run, metric, compared, [chosen, *rivals], baseline_names, wanted=baseline_names
        ),
        *_loss_comparisons(run, metric, compared, [chosen], trial_names, wanted=own_default),
    )
    return FinalistComparisons(
        metric=metric,
        chosen=chosen,
        rivals=tuple(rivals),
        default=default,
        baselines=tuple(baselines),
        comparisons=compared,
        in_loss=in_loss,
    )


def _loss_comparisons(
    run: RunFiles,
    metric: Metric,
    compared: Sequence[Comparison],
    finalists: Sequence[Finalist | None],
    others: Sequence[str],
    *,
    wanted: Collection[str],
) -> tuple[Comparison, ...]:
    """Comparisons in test loss of the first of ``finalists`` with the models in ``wanted``.

    Args:
        compared: The same finalist's comparisons in the headline metric.
        finalists: The finalists of the pairs in Holm's correction.
        others: The other models of these pairs, of which ``wanted`` is a part.
    """
    # The headline metric is a loss already, or the user named the objective that counts.
    if not metric.higher_is_better or not run.plan.objective.is_loss:
        return ()
    names = [trial_name(entry.trial) for entry in finalists if entry is not None]
    # Already adjusted in the headline metric, which makes the correction stricter.
    headline_p_values = [c.adjusted_p for c in compared if c.second in wanted and c.adjusted_p]
    loss = loss_metric(run.plan.facts)
    pairs = _pairs(test_losses(run), names, others, loss, run.margin, headline_p_values)
    chosen_pairs = (pairs.get((name, second)) for name in names[:1] for second in others)
    return tuple(entry for entry in chosen_pairs if entry is not None and entry.second in wanted)


def _chosen(run: RunFiles, ranked: tuple[Finalist, ...]) -> Finalist | None:
    """The finalist that was recommended before the test; the first one if none was yet."""
    recommended = run.seal.recommended if run.seal else None
    named = next((finalist for finalist in ranked if finalist.trial == recommended), None)
    return named or (ranked[0] if ranked else None)


def _default_name(run: RunFiles, chosen: Finalist | None) -> str | None:
    """The default of the chosen finalist's strategy; None if it is the chosen one."""
    default = default_of(run, chosen.strategy) if chosen else None
    if chosen is None or default is None or default.number == chosen.trial:
        return None
    return trial_name(default.number)


def _ranked(
    baselines: Sequence[BaselineResult], metric: Metric, objective: Objective
) -> list[BaselineResult]:
    """Baselines, best first by the objective on validation.

    Those without it follow in the order of the headline metric.
    """

    def place(baseline: BaselineResult) -> tuple[float, float, str]:
        cost = finite_value(objective.cost_of(baseline))
        loss = baseline.validation_loss if metric.name == "loss" else None
        figure = finite_value(baseline.metrics.get(metric.name, loss))
        return (
            math.inf if cost is None else cost,
            math.inf if figure is None else metric.as_cost(figure),
            baseline.name,
        )

    return sorted(baselines, key=place)


def _compare(
    run: RunFiles,
    metric: Metric,
    scores: TestScores,
    chosen: Finalist | None,
    names: list[str],
    rivals: Sequence[str] = (),
) -> tuple[Comparison, ...]:
    """The chosen finalist against each model; Holm's correction also counts its rivals' pairs."""
    if chosen is None:
        return ()
    first = trial_name(chosen.trial)
    pairs = _pairs(scores.by_name, [first, *rivals], names, metric, run.margin)
    return tuple(comparison for comparison in pairs.values() if comparison.first == first)


def _pairs(
    scores: Mapping[str, Scores],
    firsts: Sequence[str],
    others: Sequence[str],
    metric: Metric,
    margin: float,
    further_p_values: Sequence[float] = (),
) -> dict[tuple[str, str], Comparison]:
    """Each of ``firsts`` against each of ``others`` on the same items, with Holm's correction.

    Args:
        margin: The smallest difference that matters.
        further_p_values: p values of further comparisons that answer the same question.
    """
    same_items = {
        (name, other): (first, second)
        for name in firsts
        for other in others
        if (first := scores.get(name)) is not None
        and (second := scores.get(other)) is not None
        and first.items.shape[1] == second.items.shape[1]
    }
    compared = compare(same_items, further_p_values)
    return {names: pair.comparison(names, metric, margin) for names, pair in compared.items()}


Role = Literal["base", "default", "winner", "runner-up"]


class ComparedModel(Record):
    """A model whose answers the report shows and people rate."""

    role: Role
    name: str = Field(description="name in comparisons")
    title: str


def compared_models(run: RunFiles) -> tuple[ComparedModel, ...]:
    """Base, default, winner and runner-up, if they were scored on the test split.

    The base is the untrained model, or the best baseline if the task needs a new head.
    """
    scored, contest = scores_by_model(run), compare_finalists(run)
    best = contest.baseline.name if contest.baseline else ""
    base = "zero_shot" if "zero_shot" in scored else best
    rival = trial_name(contest.rival.trial) if contest.rival else ""
    winner = trial_name(contest.chosen.trial) if contest.chosen else ""
    named = {"base": base, "default": contest.default or "", "winner": winner, "runner-up": rival}
    if rival == contest.default:
        del named["runner-up"]
    return tuple(
        ComparedModel.model_validate({"role": role, "name": name, "title": model_title(run, name)})
        for role, name in named.items()
        if name in scored
    )
