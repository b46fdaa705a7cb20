"""Full fine-tuning, LoRA or another strategy? The quality and cost of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from sweeper import units
from sweeper.artifact import Record
from sweeper.evaluation.significance import MIN_SEEDS, Scores, lacking, ratio
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, MeasuredTrials, Metric, StrategySummary
from sweeper.findings.study.item_scores import (
    interval,
    test_scores,
    trial_name,
    untrained_losses,
    validation_costs,
    validation_scores,
)
from sweeper.findings.study.metric import UNBOUNDED, Bounds, headline, score_bounds
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategy_figures import best_of
from sweeper.reporting.blocks import Block, Column, Number, Table, strategy_cell, with_json_pointers
from sweeper.reporting.document import Report
from sweeper.reporting.sections._plan import rejected_table
from sweeper.traits.traits import StrategyOnModel

HEADING = Heading(50, "strategies", "Strategies")


class QualityShare(Record):
    """The share of the second strategy's quality that the first one reached, on the same items."""

    first: StrategyOnModel
    second: StrategyOnModel
    first_trial: int
    second_trial: int
    share: Interval
    split: Literal["validation", "test"]


class Figures(Record):
    """How close LoRA comes to full fine-tuning; None if that cannot be measured."""

    quality_share: QualityShare | None = None


def compute(run: RunFiles, findings: Findings) -> Figures:
    """LoRA's share of full fine-tuning's quality."""
    return Figures(quality_share=_quality_share(run))


def _quality_share(run: RunFiles) -> QualityShare | None:
    """LoRA's share of full fine-tuning's quality on the same items, with its interval.

    LoRA stands for the plan's first strategy with low-rank updates on a base that is not quantised,
    full fine-tuning for the first that trains the base. Their best trials are compared on the test
    split if both were scored there, otherwise on validation. If the metric is a loss, quality is
    the decrease from the untrained model's loss on the same items. None without this loss, with few
    items or several base models, or if one of the trials has only one seed.
    """
    planned = [(item.strategy, item.strategy.traits) for item in run.plan.candidates]
    if run.plan.objective.function or planned[0][0].model:
        return None  # a function's zero may mean anything; untrained losses of models differ
    low_rank = [
        strategy
        for strategy, traits in planned
        if traits and traits.adds == "low-rank" and traits.quantization is None
    ]
    full = [strategy for strategy, traits in planned if traits and traits.trains_base]
    if not low_rank or not full:
        return None
    low_rank_best, full_best = best_of(run, low_rank[0]), best_of(run, full[0])
    if low_rank_best is None or full_best is None:
        return None
    metric, tests = headline(run.plan, run.seal), test_scores(run).by_name
    of_trial: Callable[[TrialFiles], Scores | None] = validation_costs
    floors = tests.get("zero_shot"), untrained_losses(run)
    if metric.higher_is_better:
        of_trial, floors = validation_scores, (None, None)
    best_trials = low_rank_best, full_best
    scores: dict[Literal["test", "validation"], list[Scores | None]] = {
        "test": [tests.get(trial_name(trial.config.number)) for trial in best_trials],
        "validation": [of_trial(trial) for trial in best_trials],
    }
    for (split, (low_rank_scores, full_scores)), floor in zip(scores.items(), floors, strict=True):
        if (
            low_rank_scores is None
            or full_scores is None
            or (floor is None and not metric.higher_is_better)
        ):
            continue
        try:
            estimate = ratio(low_rank_scores, full_scores, floor)
        except ValueError:  # other items, or the loss of full fine-tuning is the untrained model's
            return None
        if lacking(estimate) or min(low_rank_scores.seeds, full_scores.seeds) < MIN_SEEDS:
            return None
        return QualityShare(
            first=low_rank_best.config.strategy,
            second=full_best.config.strategy,
            first_trial=low_rank_best.config.number,
            second_trial=full_best.config.number,
            share=interval(estimate, _share_bounds(metric, full_scores, floor)),
            split=split,
        )
    return None


def _share_bounds(metric: Metric, full_scores: Scores, floor: Scores | None) -> Bounds:
    """The lowest and highest possible share of quality; the highest is that of a perfect model.

    If full fine-tuning has an accuracy of 80%, the highest is 125%. For a loss, it is the share of
    a loss of 0; a loss above the untrained model's has a negative share.

    Args:
        floor: The untrained model's losses; None for a score.
    """
    if floor is None:
        low, high = score_bounds(metric)
        return low, high / full_scores.mean
    decrease = floor.mean - full_scores.mean
    return (-math.inf, floor.mean / decrease) if decrease > 0 else UNBOUNDED


def finding(figures: Figures, report: Report) -> str:
    """LoRA's share of full fine-tuning's quality, or the best strategy; empty for one trial."""
    if len(report.findings.best_first()) < 2:
        return ""
    if figures.quality_share:
        return share_sentence(figures.quality_share, report.findings)
    return _leader_sentence(report)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """The table of strategies, and those that the plan left out."""
    yield _table(report)
    if report.plan.rejected:
        yield rejected_table(report)


# Shows a share of quality in per cent.
_SHARE = Metric(name="share", title="share", higher_is_better=True, unit="points")


def share_sentence(share: QualityShare, findings: Findings) -> str:
    """LoRA's share of full fine-tuning's quality in a sentence, with its interval."""
    metric = findings.metric
    text = words.score_with_interval(share.share, _SHARE)
    split = "test split" if share.split == "test" else "validation split"
    full_strategy = words.strategy(share.second)
    if metric.higher_is_better:
        result = f"reaches {text} of {full_strategy}'s {metric.title}"
    else:  # for a loss, quality is the decrease from the untrained model's
        result = (
            f"reaches {text} of {full_strategy}'s gain in {metric.title} over the untrained model"
        )
    return words.sentence(
        f"{words.strategy(share.first)} {result} on the {split} "
        f"(trial {share.first_trial} against trial {share.second_trial})."
    )


def _leader_sentence(report: Report) -> str:
    metric = report.findings.objective
    scored = [s for s in report.findings.strategies if s.best_value is not None]
    best = min(scored, key=lambda s: metric.as_cost(s.best_value or 0.0))
    return words.sentence(
        f"{words.strategy(best.strategy)} has the "
        f"{'highest' if metric.higher_is_better else 'lowest'} {words.on_validation(metric)} of "
        f"{units.plural(report.findings.run.ended, 'trial')} tried, "
        f"{words.score_with_unit(best.best_value, metric, best.best_interval)}."
    )


def _table(report: Report) -> Table:
    findings = report.findings
    metric, objective = findings.metric, findings.objective
    unit = words.column_unit(objective)
    # The first finalist of a strategy is its best.
    tested = {f.strategy: f.test_score for f in reversed(findings.finalists)}
    columns: list[Column[StrategySummary]] = [
        Column.of("strategy", "/strategy", strategy_cell),
        Number.of("best trial", "/best_trial", "#{}".format),
        Number(
            words.on_validation(objective),
            lambda s: words.score(s.best_value, objective, s.best_interval),
            "/best_value",
            unit,
        ),
        Number(
            "95% CI",
            lambda s: words.interval_ends(s.best_interval, objective) or words.DASH,
            "",
            unit,
        ),
    ]
    if metric.higher_is_better and metric.name != objective.name:
        title = f"validation {metric.title}"
        columns.append(
            Number(title, lambda s: words.score(s.best_metrics.get(metric.name), metric))
        )
    columns.append(
        Number(
            f"test {metric.title}",
            lambda s: words.score_with_interval(tested.get(s.strategy), metric, label=""),
            unit=words.column_unit(metric),
        )
    )
    columns += [
        Number(f"{report.plan.time_unit} a trial", lambda s: words.minutes(s.seconds_per_trial)),
        Number.of("peak memory", "/peak_memory_gib", words.number, "GiB"),
        Number("trained", _trainable_share, unit="% of parameters"),
        Number("completed / pruned / failed", lambda s: f"{s.complete} / {s.pruned} / {s.failed}"),
    ]
    columns += [
        Number(measure.title, partial(_change, measure), unit=measure.unit)
        for measure in findings.measures.values()
    ]
    return Table.of(
        "strategy-table",
        "Strategies, each over all of its trials",
        columns,
        with_json_pointers(findings.strategies, "/findings/strategies"),
        trial=lambda s: s.best_trial,
    )


def _trainable_share(summary: StrategySummary) -> str:
    share = summary.trainable_share
    return words.DASH if share is None else words.share(share).removesuffix("%")


def _change(measured: MeasuredTrials, summary: StrategySummary) -> str:
    """The change of a measure in a strategy's best trial."""
    best = summary.best_trial
    change = None if best is None else measured.changes.get(best)
    return words.DASH if change is None else words.minus(f"{change:.3f}")
