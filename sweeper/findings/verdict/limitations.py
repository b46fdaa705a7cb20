"""Limitations of the verdict, each with its numbers and the action that removes it.

A limitation is only stated if this study's numbers show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sweeper import units
from sweeper.data.examples import by_kind
from sweeper.findings import words
from sweeper.findings.findings import MIN_SEEDS, Limitation, RunSummary, Verdict
from sweeper.findings.study.item_scores import (
    model_title,
    scored_items,
    scores_by_model,
    suspected_labels,
    trial_name,
)
from sweeper.findings.study.metric import loss_unit
from sweeper.findings.study.reading import RunFiles, encoding_notes, memory_note
from sweeper.findings.study.strategy_figures import best_of, strategies_of
from sweeper.findings.verdict.comparisons import FinalistComparisons
from sweeper.traits.traits import StrategyOnModel

# Share of a strategy's trials that may fail before the others may be untypical of it.
MAX_FAILED_SHARE = 0.2
# Share of the examples that is usually longer than the planned maximum length, and is cut.
USUAL_CUT_SHARE = 0.01
# Share of wrong labels that is not reported: well-known test sets have at least 3.3% on average
# (Northcutt et al. 2021, arXiv:2103.14749).
USUAL_WRONG_LABEL_SHARE = 0.01


@dataclass(frozen=True)
class JudgedStudy:
    """The input of the limitations: a study with its verdict."""

    run: RunFiles
    summary: RunSummary
    contest: FinalistComparisons
    verdict: Verdict


def limits(study: JudgedStudy) -> tuple[Limitation, ...]:
    """Every limitation of this study, the most basic first."""
    needed = _needed_share(study)
    return tuple(
        limit.model_copy(update={"could_change_verdict": (limit.share or 0.0) > needed})
        for check in _CHECKS
        for limit in check(study)
    )


def _needed_share(study: JudgedStudy) -> float:
    """The share of the test items that could change the closest comparison of the verdict.

    If these items are wrong, a difference in accuracy can change by their share. A decided
    comparison changes if the whole difference disappears, an open one if the difference changes by
    more than both the margin and half of its interval. A difference in loss counts as a share of
    the loss.
    """
    chosen, metric = study.contest.chosen, study.contest.metric
    if study.verdict.kind not in ("recommend", "tie") or chosen is None:
        return math.inf
    value = chosen.test_score.value if chosen.test_score else 0.0
    scale = 1.0 if metric.unit == "points" else abs(value)
    needed = [
        abs(comparison.difference.value)
        if comparison.outcome in ("better", "worse")
        else max(
            study.run.margin, (comparison.difference.ends[1] - comparison.difference.ends[0]) / 2
        )
        for comparison in study.verdict.comparisons
    ]
    return min(needed) / scale if needed and scale > 0 else math.inf


def _partial_results(study: JudgedStudy) -> Iterator[Limitation]:
    summary = study.summary
    if summary.status == "complete" or summary.ended == 0:
        return
    yield Limitation(
        id="partial",
        text=f"{summary.ended} of {units.plural(summary.trials_requested, 'trial')} have ended; "
        "results may change.",
        action="Run the same command again: it continues where it stopped.",
    )


def _few_seeds(study: JudgedStudy) -> Iterator[Limitation]:
    chosen, seeds = study.contest.chosen, study.contest.seeds
    if chosen is None or study.summary.status != "complete" or study.run.seal is None:
        return
    if seeds < MIN_SEEDS:
        text = f"A finalist was trained with {units.plural(seeds, 'seed')}: nothing is recommended."
        action = f"Set search.confirmation_seeds to {MIN_SEEDS} or more."
        yield Limitation(id="few-seeds", text=text, action=action)
        return
    # Finalists get further seeds, defaults do not.
    single_seeds = {trial_name(trial.config.number) for trial in study.run.trials}
    single_seeds -= {trial_name(number) for number in study.run.seal.order}
    seed_limited = [
        c
        for c in study.contest.comparisons
        if c.outcome == "within noise" and c.more_items is None and (c.seed_share or 0) > 0.5
        if not {c.first, c.second} & single_seeds
    ]
    if not seed_limited:
        return
    pair = units.joined(
        [model_title(study.run, n) for n in (seed_limited[0].first, seed_limited[0].second)]
    )
    yield Limitation(
        id="few-seeds",
        text=f"The spread of {seeds} seeds makes up "
        f"{words.share(seed_limited[0].seed_share or 0)} of the uncertainty between {pair}: more "
        "test items would not tell them apart.",
        action=f"Raise search.confirmation_seeds above {seeds}.",
    )


def _small_test(study: JudgedStudy) -> Iterator[Limitation]:
    seal = study.run.seal
    undecided = [c for c in study.contest.comparisons if c.more_items]
    if seal is None or not undecided:
        return
    pair = min(undecided, key=lambda c: c.more_items or 0)
    more = pair.more_items or 0
    yield Limitation(
        id="small-test-set",
        text=f"{units.plural(study.verdict.test_items or 0, 'test item')} leave "
        f"{units.plural(len(undecided), 'comparison')} open that more items could settle: "
        f"{'first of all ' if len(undecided) > 1 else ''}"
        f"{model_title(study.run, pair.first)} against {model_title(study.run, pair.second)}.",
        action=words.sentence(
            f"{words.more(more, 'test item')} would settle it if the difference stays as it is."
        ),
    )


def _still_falling(study: JudgedStudy) -> Iterator[Limitation]:
    """The best trial still improved in each of its last two rungs, by more than its seeds differ.

    The last rung alone shows nothing: the decay of the learning rate always lowers its loss.
    """
    if not study.run.ranked:
        return
    best = study.run.ranked[0]
    rungs = best.config.budget.rungs
    if rungs < study.run.plan.budget.rungs:
        return  # longer trials were tried and were no better
    final_losses = [run.result.validation_loss for run in best.trainings()]
    seed_losses = [loss for loss in final_losses if loss is not None]
    last_losses = [report.validation_loss for report in best.rungs if report.rung >= rungs - 2]
    if len(seed_losses) < 2 or len(last_losses) < 3:
        return
    spread = float(np.std(seed_losses, ddof=1))
    smallest_fall = min(last_losses[0] - last_losses[1], last_losses[1] - last_losses[2])
    # Two standard deviations: one rung in twenty would show it by chance.
    if not smallest_fall > 2 * spread:
        return
    unit = loss_unit(study.run.plan.facts)
    yield Limitation(
        id="best-at-last-step",
        text=f"Trial {best.config.number} was still improving when its budget ended: by "
        f"{words.number(last_losses[0] - last_losses[2])} {unit} in the last two of {rungs} "
        f"rungs, while its seeds differ by {words.number(spread)}.",
        action=f"Raise training.epochs above {words.value(best.config.budget.epochs)}.",
    )


def _data_faults(study: JudgedStudy) -> Iterator[Limitation]:
    """Each kind of fault in the data, with its share of the test items."""
    for kind, faults in by_kind(study.run.plan.facts.data.faults).items():
        share = min(sum(fault.share for fault in faults), 1.0)
        texts = [words.sentence(f"{fault.text}.") for fault in faults]
        if share > 0:
            texts.append(f"This concerns {words.share(share)} of the test items.")
        yield Limitation(
            id=f"data-{kind}",
            text=" ".join(texts),
            action=" ".join(dict.fromkeys(fault.action for fault in faults)),
            rows=sum(fault.rows for fault in faults),
            share=share,
        )


def _suspected_labels(study: JudgedStudy) -> Iterator[Limitation]:
    """Test items whose class is probably wrong, according to the chosen finalist."""
    chosen = study.contest.chosen
    trainings = scores_by_model(study.run).get(trial_name(chosen.trial)) if chosen else None
    if not trainings:
        return
    counted = np.flatnonzero(scored_items(study.run)).tolist()
    items, count = len(counted), len(suspected_labels(trainings, counted))
    if count <= USUAL_WRONG_LABEL_SHARE * items:
        return
    yield Limitation(
        id="suspected-labels",
        text=f"{count} of {units.plural(items, 'test item')} probably have a wrong label.",
        action="Look through them in the section on outputs, and correct the data.",
        rows=count,
        share=count / items,
    )


def _slow_starters(study: JudgedStudy) -> Iterator[Limitation]:
    """The best trial was in the worse half at the rung where the first trials were pruned."""
    run = study.run
    if study.summary.pruned == 0 or not run.ranked:
        return
    # The user's pruner may begin later than planned; diverging trials are stopped earlier.
    stops = [
        trial.rungs[-1].rung
        for trial in run.trials
        if trial.rungs and trial.result.state == "PRUNED"
    ]
    rung = max(run.plan.budget.first_rung, min(stops, default=0))
    costs = {
        trial.config.number: cost
        for trial in run.trials
        for report in trial.rungs
        if report.rung == rung and (cost := trial.objective.cost_at_rung(report)) is not None
    }
    best = run.ranked[0].config.number
    if best not in costs or len(costs) < 4:
        return
    rank = 1 + sum(cost < costs[best] for cost in costs.values())
    if rank <= len(costs) / 2:
        return
    yield Limitation(
        id="slow-starters",
        text=f"Trial {best}, the best on validation, was only number {rank} of {len(costs)} at "
        f"rung {rung}, where the first trial was pruned: a pruned trial may have been better.",
        action="Run again with --new and search.pruner: optuna:NopPruner, or with more trials.",
    )


def _unequal_budgets(study: JudgedStudy) -> Iterator[Limitation]:
    """Strategies within the margin of the best one that had at most a third of its trials."""
    if study.summary.status != "complete" or not study.run.ranked:
        return
    counts = {
        strategy: sum(trial.config.strategy == strategy for trial in study.run.trials)
        for strategy in strategies_of(study.run)
    }
    leader = study.run.ranked[0].config.strategy
    rivals = [strategy for strategy in counts if strategy != leader]
    with_few_trials = [rival for rival in rivals if 3 * counts[rival] <= counts[leader]]
    close_rivals = [rival for rival in with_few_trials if _is_near_best(study, rival)]
    if not close_rivals:
        return
    rival_counts = units.joined([f"{words.short(rival)} {counts[rival]}" for rival in close_rivals])
    yield Limitation(
        id="unequal-budgets",
        text=f"{words.sentence(words.short(leader))} had "
        f"{units.plural(counts[leader], 'trial')}, {rival_counts}; "
        "on validation their best trials differ by no more than the margin.",
        action="Name the strategies with aim.strategies and give them more trials.",
    )


def _is_near_best(study: JudgedStudy, strategy: StrategyOnModel) -> bool:
    """Whether a strategy's best trial, if it has one, is within the margin of the best of all."""
    rival, best = best_of(study.run, strategy), study.run.ranked[0]
    margin = study.run.margin
    return rival is not None and rival.cost - best.cost <= margin


def _failed_trials(study: JudgedStudy) -> Iterator[Limitation]:
    for strategy in strategies_of(study.run):
        trials = [trial for trial in study.run.trials if trial.config.strategy == strategy]
        failed = [trial for trial in trials if trial.result.state == "FAIL"]
        if not failed or len(failed) <= MAX_FAILED_SHARE * len(trials):
            continue
        kinds = {trial.result.failure.kind for trial in failed if trial.result.failure}
        causes = units.joined([words.failure(kind) for kind in sorted(kinds)])
        yield Limitation(
            id=f"lost-{strategy}",
            text=f"{len(failed)} of {units.plural(len(trials), 'trial')} of "
            f"{words.short(strategy)} failed ({causes}); the others may not be typical.",
            action="See the failures; remove their cause and run the same command again.",
        )


def _memory_shortage(study: JudgedStudy) -> Iterator[Limitation]:
    """Strategies with trials that ran out of memory and used smaller batches than planned."""
    for strategy in strategies_of(study.run):
        trials = [trial for trial in study.run.trials if trial.config.strategy == strategy]
        noted = [trial for trial in trials if memory_note(trial)]
        if not noted:
            continue
        yield Limitation(
            id=f"memory-{strategy}",
            text=f"{words.sentence(words.short(strategy))} needed more memory than predicted: "
            f"{len(noted)} of {units.plural(len(trials), 'trial')} used smaller batches than "
            f"planned (trial {noted[0].config.number}: {memory_note(noted[0])}). The effective "
            "batch is unchanged.",
            action="These results need no action. For the next run, state less memory "
            "(--gpu-memory).",
        )


def _changed_examples(study: JudgedStudy) -> Iterator[Limitation]:
    """Examples that were not used in full, if they are more than a few."""
    for note in encoding_notes(study.run):
        is_frequent = note.kind != "divided" and note.count > USUAL_CUT_SHARE * note.of
        if note.kind == "dropped" or is_frequent:
            yield Limitation(
                id=f"{note.kind}-{note.split}",
                text=f"{words.sentence(note.text)}.",
                rows=note.count,
                share=note.count / note.of if (note.kind, note.split) == _LOST_ITEMS else None,
                action="No action is needed if only the turns with answers matter."
                if note.kind == "rewritten"
                else "Raise --max-length where memory allows it.",
            )


# Kind and split of the notes on test items that no model was scored on.
_LOST_ITEMS = ("dropped", "test")


def _base_weights(study: JudgedStudy) -> Iterator[Limitation]:
    for model in study.run.plan.facts.models:
        if model.weights_note:
            yield Limitation(
                id="base-weights",
                text=f"{model.id}: {model.weights_note}",
                action="Sweep the original weights where quality in absolute terms matters.",
            )


_CHECKS: tuple[Callable[[JudgedStudy], Iterator[Limitation]], ...] = (
    _partial_results,
    _few_seeds,
    _small_test,
    _still_falling,
    _data_faults,
    _suspected_labels,
    _slow_starters,
    _unequal_budgets,
    _failed_trials,
    _memory_shortage,
    _changed_examples,
    _base_weights,
)
