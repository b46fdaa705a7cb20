"""The answer to "what do I train?": one sentence and its reasons.

A run that has not ended, or has fewer than three seeds, gets no recommendation. Fine-tuning pays
only if it changes the base model and beats every baseline that scored the same test items. Of
finalists that do not differ significantly, the cheapest to train is named: memory, then time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from sweeper import units
from sweeper.evaluation.significance import Scores
from sweeper.findings import words
from sweeper.findings.findings import (
    MIN_FINALISTS,
    MIN_SEEDS,
    Comparison,
    Finalist,
    Metric,
    RunSummary,
    Verdict,
    VerdictKind,
)
from sweeper.findings.study.item_scores import (
    model_title,
    scored_items,
    scores_by_model,
    trial_name,
    written_answers,
)
from sweeper.findings.study.metric import loss_metric, objective_metric
from sweeper.findings.study.paired_trials import compare
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.strategy_figures import finalists
from sweeper.findings.verdict.comparisons import FinalistComparisons
from sweeper.metrics.metric import metrics
from sweeper.safe_text import shortened
from sweeper.search.finalists import cheapest
from sweeper.traits.traits import changes_base
from sweeper.trials import BaselineResult, GeneratedAnswers

_BASELINE_AS_GOOD = ("worse", "equivalent")
"""Outcomes of a trial against a baseline that is at least as good."""
_MAX_REASON_CHARACTERS = 200
"""Maximum number of characters of a quoted failure."""


def verdict(run: RunFiles, summary: RunSummary, contest: FinalistComparisons) -> Verdict:
    """What to train, whether to fine-tune at all, and why."""
    if not run.ranked:
        return Verdict(kind="none", sentence=_no_trial_sentence(run, summary))
    missing = _missing_requirement(run, summary, contest)
    if missing or contest.chosen is None:
        decided = _verdict_without_recommendation(run, summary, contest, missing)
    else:
        decided = _verdict_of_complete_study(run, contest, contest.chosen)
    worsened = _worsened(run, contest)
    update = {
        "sentence": decided.sentence + _worsened_sentence(run, worsened),
        "best_baseline": contest.baseline.name if contest.baseline else None,
        "comparisons": contest.comparisons,
        "in_loss": contest.in_loss,
        "worsened": worsened,
        "test_items": int(scored_items(run).sum()) if run.seal and run.seal.scores else None,
        "seeds": contest.seeds or (len(contest.chosen.seeds) if contest.chosen else None),
    }
    return decided.model_copy(update=update)


def _verdict_of_complete_study(
    run: RunFiles, contest: FinalistComparisons, chosen: Finalist
) -> Verdict:
    # A baseline that the best trial does not clearly beat is preferred, since it takes seconds.
    unbeaten = contest.unbeaten
    against = contest.against(unbeaten.name) if unbeaten else None
    rival_names = {trial_name(finalist.trial) for finalist in contest.rivals}
    rivals = [c for c in contest.comparisons if c.second in rival_names]
    best_of_all = bool(rivals) and all(c.outcome == "better" for c in rivals)
    baseline_wins = against is not None and against.outcome == "worse"
    kind: VerdictKind = "recommend" if baseline_wins or (best_of_all and not unbeaten) else "tie"
    needed: bool | None = None
    if unbeaten is not None and against is not None:
        needed = False if against.outcome in _BASELINE_AS_GOOD else None
        answer, reasons = _baseline_answer(run, contest, unbeaten, against, chosen)
    else:
        answer = f"Train trial {chosen.trial} ({words.short(chosen.strategy)})"
        reasons = _trial_reasons(run, contest, chosen, rivals, best_of_all=best_of_all)
        if contest.compared and changes_base(chosen.strategy):
            needed = True
            reasons += _fine_tuning_sentence(run, contest)
    return Verdict(
        kind=kind,
        answer=answer,
        sentence=f"{answer}: {reasons}",
        recommended_trial=chosen.trial,
        best_trial=chosen.trial,
        recommended_baseline=unbeaten.name if unbeaten else None,
        fine_tuning_needed=needed,
    )


def _trial_reasons(
    run: RunFiles,
    contest: FinalistComparisons,
    chosen: Finalist,
    rivals: list[Comparison],
    *,
    best_of_all: bool,
) -> str:
    score = words.score_with_interval(chosen.test_score, contest.metric)
    seeds = units.plural(len(chosen.seeds), "seed")
    head = f"test {contest.metric.title} {score}, {seeds}; "
    if best_of_all:
        return f"{head}the best of {units.plural(len(rivals) + 1, 'finalist')}, beyond noise."
    tied = [c.second for c in rivals if c.outcome in ("within noise", "equivalent")]
    if not tied:
        return f"{head}chosen on validation: the cheapest to train of those close to the best."
    others = [finalist for finalist in finalists(run) if trial_name(finalist.trial) in tied]
    if 0 in cheapest([_resources(finalist) for finalist in (chosen, *others)]):
        count = len(tied) + 1
        return f"{head}the cheapest to train of {count} finalists that cannot be told apart."
    return (
        f"{head}chosen on validation; the test cannot tell it apart from "
        f"{units.plural(len(tied), 'other finalist')}."
    )


def _resources(finalist: Finalist) -> tuple[float, float]:
    """Memory in GiB, infinite if unknown, and time in seconds."""
    memory = finalist.peak_memory_gib
    return (float("inf") if memory is None else memory, finalist.seconds)


def _fine_tuning_sentence(run: RunFiles, contest: FinalistComparisons) -> str:
    """A sentence on the lead of the chosen finalist, which beats every baseline.

    It names the nearest baseline, or the best one that is only beaten in loss.
    """
    count = len(contest.compared)
    by_loss = _decided_in_loss(contest)
    in_loss = contest.against(by_loss.name, in_loss=True) if by_loss else None
    nearest, against = _nearest(contest)
    if by_loss is None or in_loss is None:
        gap = words.difference(against.difference, contest.metric)
        rank = f", the nearest of {count} baselines" if count > 1 else ", the only baseline"
        return f" Fine-tuning pays on the test split: {gap} against {nearest.title}{rank}."
    headline = contest.against(by_loss.name)
    assert headline is not None
    gap = words.difference(headline.difference, contest.metric)
    lower = words.difference(in_loss.difference, loss_metric(run.plan.facts))
    all_of_them = f", and better than all {count} baselines" if count > 1 else ""
    return (
        f" Fine-tuning pays in loss: on the test split {lower} against {by_loss.title}"
        f"{all_of_them}; in {contest.metric.title} {gap} is {words.outcome(headline, run.margin)}."
    )


def _nearest(contest: FinalistComparisons) -> tuple[BaselineResult, Comparison]:
    """The baseline nearest to the chosen finalist on the test split, and their comparison."""
    sign = 1 if contest.metric.higher_is_better else -1
    comparisons = ((baseline, contest.against(baseline.name)) for baseline in contest.compared)
    return min(
        ((baseline, c) for baseline, c in comparisons if c is not None),
        key=lambda pair: sign * pair[1].difference.value,
    )


def _decided_in_loss(contest: FinalistComparisons) -> BaselineResult | None:
    """The best baseline that the chosen finalist beats only in loss, if any."""
    comparisons = ((baseline, contest.against(baseline.name)) for baseline in contest.compared)
    undecided = (baseline for baseline, c in comparisons if c is not None and c.outcome != "better")
    return next((baseline for baseline in undecided if contest.beats(baseline)), None)


def _baseline_answer(
    run: RunFiles,
    contest: FinalistComparisons,
    baseline: BaselineResult,
    against: Comparison,
    chosen: Finalist,
) -> tuple[str, str]:
    """The answer and its reasons if a baseline is not shown to be worse."""
    trial = f"trial {chosen.trial} ({words.short(chosen.strategy)})"
    gap = f"{trial} − {baseline.title} = {words.difference(against.difference, contest.metric)}"
    if against.outcome in _BASELINE_AS_GOOD:
        return (
            "You need not fine-tune",
            f"{baseline.title} is at least as good. On the test split {gap}.",
        )
    return "Fine-tuning is not shown to pay", (
        f"{trial} is not shown to be better than "
        f"{baseline.title}, which takes {units.duration(baseline.seconds)} to fit and score. "
        f"On the test split {gap}: {words.outcome(against, run.margin)}."
    )


def _missing_requirement(run: RunFiles, summary: RunSummary, contest: FinalistComparisons) -> str:
    """Why this study does not allow a recommendation; empty if it does."""
    if summary.status != "complete":
        return "results may change"  # progress is shown elsewhere, and newer than findings
    seal, chosen = run.seal, contest.chosen
    if seal is None or not seal.complete or chosen is None:
        return "the finalists have not been scored on the test split"
    if len(seal.order) < MIN_FINALISTS:
        count = units.plural(len(seal.order), "finalist")
        return f"there is {count}, but a choice needs {MIN_FINALISTS}"
    if contest.seeds < MIN_SEEDS:
        trained = units.plural(contest.seeds, "seed")
        return f"finalists have test scores of {trained}, but a comparison needs {MIN_SEEDS}"
    return ""


def _verdict_without_recommendation(
    run: RunFiles, summary: RunSummary, contest: FinalistComparisons, missing: str
) -> Verdict:
    best = run.best
    number, metric = best.config.number, objective_metric(run.plan)
    strategy = words.strategy(best.config.strategy)
    answer = "Not enough to recommend" if summary.status == "complete" else "Not finished"
    sentence = (
        f"{answer}: {missing}. Best so far: trial {number} ({strategy}), "
        f"{words.on_validation(metric)} {words.score_with_unit(best.value, metric)} "
        f"({run.plan.objective.direction_in_words})."
    )
    chosen = contest.chosen.trial if contest.chosen else number
    if chosen != number:
        sentence += f" Validation chose trial {chosen}, the cheapest of those close to the best."
    return Verdict(
        kind="insufficient",
        answer=answer,
        sentence=sentence,
        recommended_trial=contest.chosen.trial if contest.chosen else None,
        best_trial=chosen,
    )


def _no_trial_sentence(run: RunFiles, summary: RunSummary) -> str:
    if summary.ended == 0:
        return "No trial has ended yet: there is a plan, and nothing to compare."
    failures = Counter(t.result.failure.detail for t in run.trials if t.result.failure)
    cause = "".join(
        f" ({shortened(text, _MAX_REASON_CHARACTERS)})"
        for text, _ in failures.most_common(1)
        if text
    )
    return f"No trial completed: {summary.pruned} pruned, {summary.failed} failed{cause}."


def _worsened(run: RunFiles, contest: FinalistComparisons) -> tuple[Comparison, ...]:
    """Comparisons in which the chosen finalist is worse than a model that it beats in test loss.

    They are in the headline metric, over all seeds, and in metrics of generated answers. The
    answers are of one training, so the intervals cover items only.
    """
    if contest.chosen is None or not run.plan.objective.is_loss:  # the user named what counts
        return ()
    losses = contest.in_loss if contest.metric.higher_is_better else contest.comparisons
    beaten = [comparison.second for comparison in losses if comparison.outcome == "better"]
    headline = [
        comparison
        for comparison in map(contest.against, beaten)
        if comparison and comparison.outcome == "worse"
    ]
    return (*headline, *_worse_answer_metrics(run, trial_name(contest.chosen.trial), beaten))


def _worsened_sentence(run: RunFiles, worsened: tuple[Comparison, ...]) -> str:
    """A sentence on the metrics that are worse, each once; empty if there are none."""
    if not worsened:
        return ""
    by_metric = {comparison.metric: comparison for comparison in reversed(worsened)}
    gaps = [
        f"{metric.title} {words.difference(comparison.difference, metric)} against "
        f"{model_title(run, comparison.second)}"
        for comparison in reversed(by_metric.values())
        for metric in (_metric(comparison.metric),)
    ]
    return f" The test loss is better, but other metrics are worse: {units.joined(gaps)}."


def _worse_answer_metrics(run: RunFiles, first: str, others: list[str]) -> Iterator[Comparison]:
    """Metrics of generated answers in which ``first`` is worse than one of the other models.

    Holm's correction is over all pairs of a metric and another model.
    """
    answers = {name: written_answers(of_model) for name, of_model in scores_by_model(run).items()}
    own = answers.get(first)
    pairs: dict[tuple[str, str], tuple[Scores, Scores]] = {}
    for second in others:
        other = answers.get(second)
        if own is None or other is None:
            continue
        for name in own.item_metrics:
            if pair := _shared_item_scores(name, own, other):
                pairs[second, name] = pair
    for (second, name), compared in compare(pairs).items():
        metric = _metric(name)
        # Metrics that are not shares, such as BLEU, are from 0 to 100.
        margin = run.margin if metric.unit == "points" else 100 * run.margin
        comparison = compared.comparison((first, second), metric, margin)
        if comparison.outcome == "worse":
            yield comparison


def _shared_item_scores(
    name: str, first: GeneratedAnswers, second: GeneratedAnswers
) -> tuple[Scores, Scores] | None:
    """A metric of both models on the items that both answered; None with fewer than two items."""
    if name not in second.item_metrics:
        return None
    own, other = (
        dict(zip(answers.places, answers.item_metrics[name], strict=False))
        for answers in (first, second)
    )
    shared = sorted(own.keys() & other.keys())
    rows = np.array([[own[item] for item in shared], [other[item] for item in shared]])
    if len(shared) < 2 or not np.isfinite(rows).all():
        return None
    return Scores.of([rows[0]], seed_noise=False), Scores.of([rows[1]], seed_noise=False)


def _metric(name: str) -> Metric:
    description = metrics()[name]
    unit = "points" if description.unit == "%" else ""
    return Metric(name=name, title=description.title, higher_is_better=True, unit=unit)
