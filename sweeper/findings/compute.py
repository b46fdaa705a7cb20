"""From a run folder to its verdict and what every reader of it needs. Only reads files."""

from __future__ import annotations

from sweeper.findings.record import Findings
from sweeper.findings.study.changes import measured_trials
from sweeper.findings.study.finalist_figures import finalists
from sweeper.findings.study.metric import loss_unit, objective_metric
from sweeper.findings.study.reading import RunFiles, encoding_notes, read_run
from sweeper.findings.study.strategies import strategy_summaries
from sweeper.findings.study.trial_rows import finite, known, trial_row
from sweeper.findings.verdict.comparisons import hold_contest
from sweeper.findings.verdict.limitations import JudgedStudy, limits
from sweeper.findings.verdict.reproduction import reproduction
from sweeper.findings.verdict.summary import run_summary
from sweeper.findings.verdict.tested import tested_models
from sweeper.findings.verdict.verdict import verdict
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult


def compute(run: RunFolder) -> Findings:
    """The findings of a run in any state, without what sections of the report add.

    The same files give the same findings: every draw is seeded and nothing is read but the folder.

    Raises:
        UsageError: The folder has no plan that this sweeper can read.
    """
    return findings_of(read_run(run))


def findings_of(run: RunFiles) -> Findings:
    """The findings of the files of a run, without what sections of the report add."""
    summary, contest = run_summary(run), hold_contest(run)
    cheapest = sorted(run.baselines, key=lambda baseline: (baseline.seconds, baseline.name))
    decided = verdict(run, summary, contest)
    return Findings(
        run=summary,
        metric=contest.metric,
        objective=objective_metric(run.plan),
        loss_unit=loss_unit(run.plan.facts),
        margin_points=run.plan.facts.aim.margin_points,
        verdict=decided,
        baselines=tuple(_baseline(run, baseline) for baseline in cheapest),
        finalists=finalists(run),
        tested=tested_models(run),
        notes=encoding_notes(run),
        strategies=strategy_summaries(run),
        trials=tuple(trial_row(t, running=summary.status == "running") for t in run.trials),
        measures=measured_trials(run),
        limits=limits(JudgedStudy(run, summary, contest, decided)),
        reproduction=reproduction(
            run, decided.recommended_trial, complete=summary.status == "complete"
        ),
    )


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
