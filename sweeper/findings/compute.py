"""Computes the findings of a run from its folder. Only reads files."""

from __future__ import annotations

import statistics

from sweeper.evaluation.significance import mean_interval
from sweeper.findings.findings import Findings, TestedModel
from sweeper.findings.study.item_scores import (
    interval,
    model_title,
    scores_by_model,
    test_losses,
    test_score,
    test_scores,
    written_answers,
)
from sweeper.findings.study.metric import LOSS, loss_unit, objective_metric
from sweeper.findings.study.reading import (
    RunFiles,
    TrialFiles,
    encoding_notes,
    finite_metrics,
    finite_value,
    read_run,
)
from sweeper.findings.study.strategy_figures import finalists, strategy_summaries
from sweeper.findings.study.trained_changes import measured_trials
from sweeper.findings.verdict.comparisons import compare_finalists
from sweeper.findings.verdict.decide import verdict
from sweeper.findings.verdict.limitations import JudgedStudy, limits
from sweeper.findings.verdict.summary import reproduction, run_summary
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult, GeneratedAnswers, TestScore, Trial


def compute(run: RunFolder) -> Findings:
    """The findings of a run in any state, without the figures that the report's sections add.

    The same files give the same findings, since every draw is seeded.

    Raises:
        UsageError: The folder has no plan that this version can read.
    """
    return findings_of(read_run(run))


def findings_of(run: RunFiles) -> Findings:
    """The findings of a run's files, without the figures that the report's sections add."""
    summary, contest = run_summary(run), compare_finalists(run)
    baselines = sorted(run.baselines, key=lambda baseline: (baseline.seconds, baseline.name))
    verdict_ = verdict(run, summary, contest)
    return Findings(
        run=summary,
        metric=contest.metric,
        objective=objective_metric(run.plan),
        loss_unit=loss_unit(run.plan.facts),
        margin_points=run.plan.facts.aim.margin_points,
        verdict=verdict_,
        baselines=tuple(_baseline(run, baseline) for baseline in baselines),
        finalists=finalists(run),
        tested=tested_models(run),
        notes=encoding_notes(run),
        strategies=strategy_summaries(run),
        trials=tuple(map(_trial, run.trials)),
        measures=measured_trials(run),
        limits=limits(JudgedStudy(run, summary, contest, verdict_)),
        reproduction=reproduction(
            run, verdict_.recommended_trial, complete=summary.status == "complete"
        ),
    )


def _trial(files: TrialFiles) -> Trial:
    """A trial with the rungs that have a finite loss, without the losses of items."""
    rungs = [
        rung.model_copy(update={"first_items": None, "train_loss": finite_value(rung.train_loss)})
        for rung in files.rungs
        if finite_value(rung.validation_loss) is not None
    ]
    return Trial.taken_from(files, rungs=tuple(rungs))


def _baseline(run: RunFiles, baseline: BaselineResult) -> BaselineResult:
    """A baseline with finite numbers only, and without the losses of items."""
    return baseline.model_copy(
        update={
            "validation_loss": finite_value(baseline.validation_loss),
            "objective": finite_value(run.plan.objective.measured(baseline)),
            "metrics": finite_metrics(baseline.metrics),
            "item_losses": (),
            "item_weights": (),
        }
    )


def tested_models(run: RunFiles) -> tuple[TestedModel, ...]:
    """The models scored on the test split: finalists in order, other trials, baselines."""
    scores, losses = test_scores(run), test_losses(run)
    models = scores_by_model(run)
    ranks = {number: place for place, number in enumerate(run.seal.order if run.seal else ())}

    def rank(name: str) -> tuple[int, int]:
        """(0, place) of a finalist, (1, number) of another trial, (2, 0) of a baseline."""
        trial = models[name][0].trial
        return (2, 0) if trial is None else (int(trial not in ranks), ranks.get(trial, trial))

    return tuple(
        TestedModel(
            name=name,
            title=model_title(run, name),
            trial=models[name][0].trial,
            seeds=len(models[name]),
            score=score,
            test_loss=interval(mean_interval(losses[name]), LOSS) if name in losses else None,
            metrics=finite_metrics(scores.metrics.get(name, {})),
            generated=_without_items(written_answers(models[name])),
            seconds_per_thousand=_seconds_per_thousand(models[name]),
        )
        for name in sorted(scores.by_name, key=rank)
        if (score := test_score(run, name))
    )


def _seconds_per_thousand(scores: list[TestScore]) -> float | None:
    """Seconds to answer 1,000 items, or to score them if no answers were generated.

    A median, since the first training may wait for files and compilers; None if unknown.
    """
    answer_times = [(s.generated.greedy_seconds, s.generated.items) for s in scores if s.generated]
    scoring_times = [(s.seconds, len(s.item_scores)) for s in scores]
    seconds_per_1000 = [
        1000 * seconds / items
        for seconds, items in answer_times or scoring_times
        if seconds is not None and items
    ]
    return statistics.median(seconds_per_1000) if seconds_per_1000 else None


def _without_items(answers: GeneratedAnswers | None) -> GeneratedAnswers | None:
    """Generated answers without the data of single items."""
    emptied: dict[str, object] = {"shown_texts": {}, "places": (), "item_metrics": {}}
    return answers and answers.model_copy(
        update={"metrics": finite_metrics(answers.metrics), **emptied}
    )
