"""Full or LoRA (or other)? Each strategy over all of its trials, and one's share of another's."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from sweeper.declared.traits import find
from sweeper.evaluation.significance import FEWEST_SEEDS, Scores, lacking, ratio
from sweeper.findings.evidence.gains import best_of, strategies_of, value_interval
from sweeper.findings.figures import Comparison, Interval, Metric
from sweeper.findings.record import QualityShare, StrategySummary
from sweeper.findings.study.finalists import finalists
from sweeper.findings.study.item_scores import (
    interval,
    test_scores,
    trial_name,
    untrained_losses,
    validation_losses,
    validation_scores,
)
from sweeper.findings.study.metric import UNBOUNDED, Bounds, headline, score_bounds
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trial_rows import finite, is_full, known, trial_seconds


def strategy_summaries(
    run: RunFiles, against_baseline: Mapping[str, Comparison], points_lost: Mapping[int, float]
) -> tuple[StrategySummary, ...]:
    """One line for each strategy, in the plan's order.

    Args:
        against_baseline: Each strategy's comparison with the best baseline, if there is one.
        points_lost: What trials lost on general text, as far as that is known.
    """
    tested: dict[str, Interval | None] = {}
    for finalist in finalists(run):
        tested.setdefault(finalist.strategy, finalist.test_score)
    found = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.trials if trial.config.strategy == strategy]
        states = Counter(trial.end for trial in trials)
        best = best_of(run, strategy)
        ended = [t for t in trials if t.completed]
        full = [t for t in ended if is_full(t, run.plan.budget.rungs)]
        whole = [s for t in full or ended if (s := trial_seconds(t)) is not None]
        results = [t.result for t in trials if t.result]
        peaks = [p for one in results if (p := known(one.peak_memory_gib)) is not None]
        summary = StrategySummary(
            strategy=strategy,
            complete=states["COMPLETE"],
            pruned=states["PRUNED"],
            failed=states["FAIL"],
            best_trial=best.config.number if best else None,
            best_value=best.value if best else None,
            best_interval=value_interval(best) if best else None,
            best_metrics=finite(best.result.metrics) if best and best.result else {},
            test_score=tested.get(strategy),
            against_baseline=against_baseline.get(strategy),
            seconds_per_trial=statistics.median(whole) if whole else None,
            peak_memory_gib=max(peaks, default=None),
            trainable_share=_trainable_share(best),
            forgetting_points=points_lost.get(best.config.number) if best else None,
        )
        found.append(summary)
    return tuple(found)


def _trainable_share(best: TrialFiles | None) -> float | None:
    result = best.result if best else None
    if result is None or not result.total_parameters or result.trainable_parameters is None:
        return None
    return result.trainable_parameters / result.total_parameters


def quality_share(run: RunFiles) -> QualityShare | None:
    """LoRA's share of full fine-tuning's quality on the same items, with its interval.

    More exactly: of the first strategy of the plan with low-rank updates on a base that is not
    quantised, against the first that trains the base.
    Best against best of each: on the test split where both were scored there, else on validation.
    For a loss, quality is how far it lies under the untrained model's; without that model's loss
    on the same items no share is stated, and neither from few items or where one of the two was
    trained once only.
    """
    known = [traits for one in run.plan.candidates if (traits := find(one.strategy))]
    if run.plan.objective.function:
        return None  # whose zero may mean anything
    low_rank = [one.name for one in known if one.adds == "low-rank" and one.quantization is None]
    full = [one.name for one in known if one.trains_base]
    if not low_rank or not full:
        return None
    one, other = best_of(run, low_rank[0]), best_of(run, full[0])
    if one is None or other is None:
        return None
    metric, tests = headline(run.plan, run.seal), test_scores(run).by_name
    first, second = (tests.get(trial_name(trial.config.number)) for trial in (one, other))
    sources: list[tuple[Literal["test", "validation"], Scores | None, Scores | None, Scores | None]]
    if metric.higher_is_better:
        above, below = validation_scores(one), validation_scores(other)
        sources = [("test", first, second, None), ("validation", above, below, None)]
    else:
        above, below = validation_losses(one), validation_losses(other)
        sources = [
            ("test", first, second, tests.get("zero_shot")),
            ("validation", above, below, untrained_losses(run)),
        ]
    for split, seen, whole, floor in sources:
        if seen is None or whole is None or (floor is None and not metric.higher_is_better):
            continue
        try:
            estimate = ratio(seen, whole, floor)
        except ValueError:  # different items, or full is no better than the untrained model
            return None
        if lacking(estimate) or min(seen.seeds, whole.seeds) < FEWEST_SEEDS:
            return None
        return QualityShare(
            first=one.config.strategy,
            second=other.config.strategy,
            first_trial=one.config.number,
            second_trial=other.config.number,
            share=interval(estimate, _share_bounds(metric, whole, floor)),
            split=split,
        )
    return None


def _share_bounds(metric: Metric, whole: Scores, floor: Scores | None) -> Bounds:
    """The share that a model without a mistake would reach: there is no larger one.

    Of an accuracy of 80% that is 125%, and of a loss what a loss of 0 lies under the untrained
    model's. A worse loss than the untrained model's is a share under 0.
    """
    if floor is None:
        low, high = score_bounds(metric)
        return low, high / whole.mean
    step = floor.mean - whole.mean
    return (-math.inf, floor.mean / step) if step > 0 else UNBOUNDED
