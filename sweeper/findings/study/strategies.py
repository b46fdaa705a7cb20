"""Each strategy over all of its trials."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping

from sweeper.findings.figures import Comparison, Interval
from sweeper.findings.record import StrategySummary
from sweeper.findings.study.best_trials import best_of, strategies_of, value_interval
from sweeper.findings.study.finalists import finalists
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.trial_rows import finite, is_full, known, trial_seconds


def strategy_summaries(
    run: RunFiles, against_baseline: Mapping[str, Comparison]
) -> tuple[StrategySummary, ...]:
    """One line for each strategy, in the plan's order.

    Args:
        against_baseline: Each strategy's comparison with the best baseline, if there is one.
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
            forgetting_points=known(best.result.forgetting_points)
            if best and best.result
            else None,
        )
        found.append(summary)
    return tuple(found)


def _trainable_share(best: TrialFiles | None) -> float | None:
    result = best.result if best else None
    if result is None or not result.total_parameters or result.trainable_parameters is None:
        return None
    return result.trainable_parameters / result.total_parameters
