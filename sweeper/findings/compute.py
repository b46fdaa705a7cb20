"""From a run folder to findings: the entry point. Only reads files."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.evidence.data_curve import data_need
from sweeper.findings.evidence.gains import (
    gain_pairs,
    gains,
    last_useful_trial,
    warm_start_sentence,
    warm_starts,
)
from sweeper.findings.evidence.paired_trials import compare_pairs
from sweeper.findings.evidence.parameters import parameter_findings
from sweeper.findings.evidence.predicted import predictions
from sweeper.findings.evidence.strategies import quality_share, strategy_summaries
from sweeper.findings.evidence.with_without import (
    augmentation_findings,
    augmentation_pairs,
    augmentation_sentence,
    first_stage_findings,
    first_stage_pairs,
    first_stage_sentence,
)
from sweeper.findings.record import DataNeed, Findings
from sweeper.findings.study.finalists import finalists
from sweeper.findings.study.item_scores import trial_name
from sweeper.findings.study.metric import loss_unit, objective_metric
from sweeper.findings.study.reading import RunFiles, encoding_notes, read_run
from sweeper.findings.study.trial_rows import finite, known, trial_row
from sweeper.findings.verdict.comparisons import against_baseline, hold_contest
from sweeper.findings.verdict.forgetting import forgetting, limit_sentence, points_lost
from sweeper.findings.verdict.human_pairs import preferences
from sweeper.findings.verdict.limitations import Study, limits
from sweeper.findings.verdict.next_step import next_step
from sweeper.findings.verdict.outputs import outputs
from sweeper.findings.verdict.reproduction import reproduction
from sweeper.findings.verdict.summary import run_summary
from sweeper.findings.verdict.tested import class_findings, tested_models
from sweeper.findings.verdict.verdict import verdict
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult


def compute(run: RunFolder) -> Findings:
    """The findings of a run in any state.

    The same files give the same findings: every draw is seeded and nothing is read but the folder.

    Raises:
        UsageError: The folder has no plan that this sweeper can read.
    """
    return findings_of(read_run(run))


def findings_of(run: RunFiles) -> Findings:
    """The findings of the files of a run."""
    summary = run_summary(run)
    contest = hold_contest(run)
    chosen = contest.chosen
    cheapest = sorted(run.baselines, key=lambda baseline: (baseline.seconds, baseline.name))
    decided = verdict(run, summary, contest)
    pairs = compare_pairs(gain_pairs(run), first_stage_pairs(run), augmentation_pairs(run))
    parameters = parameter_findings(run, pairs)
    read = first_stage_findings(run, pairs)
    forgotten = forgetting(run, decided.recommended_trial)
    augmented = augmentation_findings(run, pairs)
    told = tuple(first_stage_sentence(run, finding) for finding in read)
    told += tuple(augmentation_sentence(run, finding) for finding in augmented)
    told += tuple(filter(None, [limit_sentence(forgotten, decided.best_trial)]))
    warm = warm_starts(run)
    told += tuple(warm_start_sentence(run, one) for one in warm)
    told += (words.sentence(f"{summary.search_ended}."),) if summary.search_ended else ()
    need = data_need(run, contest.metric, decided.recommended_trial)
    told += (need.sentence,) if isinstance(need, DataNeed) else ()
    decided = decided.model_copy(update={"because": (*decided.because, *told)})
    found = Findings(
        run=summary,
        metric=contest.metric,
        objective=objective_metric(run.plan),
        loss_unit=loss_unit(run.plan.facts),
        margin_points=run.plan.facts.aim.margin_points,
        verdict=decided,
        baselines=tuple(_baseline(run, baseline) for baseline in cheapest),
        finalists=finalists(run),
        tested=tested_models(run),
        classes=class_findings(run, trial_name(chosen.trial)) if chosen else None,
        outputs=outputs(run, contest),
        human=preferences(run),
        notes=encoding_notes(run),
        gains=gains(run, pairs),
        warm_starts=warm,
        strategies=strategy_summaries(run, against_baseline(run, contest), points_lost(forgotten)),
        quality_share=quality_share(run),
        predictions=predictions(run),
        trials=tuple(trial_row(t, running=summary.status == "running") for t in run.trials),
        parameters=parameters,
        first_stage=read,
        augmentation=augmented,
        data_need=need,
        limits=limits(Study(run, summary, contest, parameters, decided)),
        forgetting=forgotten,
        reproduction=reproduction(
            run, decided.recommended_trial, complete=summary.status == "complete"
        ),
        last_useful_trial=last_useful_trial(run),
    )
    return found.model_copy(update={"next_step": next_step(found)})


def _baseline(run: RunFiles, baseline: BaselineResult) -> BaselineResult:
    """A baseline with its test figures, once the seal was opened, and finite numbers only.

    Losses of single items stay with the run.
    """
    scored = [s for s in (run.seal.scores if run.seal else ()) if s.name == baseline.name]
    score = scored[0] if scored else None
    return baseline.model_copy(
        update={
            "validation_loss": known(baseline.validation_loss),
            "objective": known(run.plan.objective.measured(baseline)),
            "metrics": finite(baseline.metrics),
            "item_losses": (),
            "item_weights": (),
            "test_loss": known(score.loss if score else baseline.test_loss),
            "test_metrics": finite(score.metrics if score else baseline.test_metrics),
        }
    )
