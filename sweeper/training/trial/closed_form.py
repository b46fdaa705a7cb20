"""The frozen model with a linear head as one trial: no steps, a whole regularisation path."""

from __future__ import annotations

import time

from sweeper.strategies.base import Strategy
from sweeper.tasks.classifier import Classifier
from sweeper.training.loop.progress import TrainingProgress
from sweeper.training.trial.assembly import assembled, start_head
from sweeper.training.trial.job import Final, TrialJob
from sweeper.trials import TrialResult


def fit_head(job: TrialJob, strategy: Strategy) -> TrialResult:
    """Fit the head on frozen features, report the last rung, and keep it as any other trial is.

    Features and fit are those of the probe baseline, made once for a worker; the trial's seconds
    are what they took when they were made.

    Raises:
        Interrupted: The trial was told to stop.
    """
    shared = job.shared
    fitted = shared.features.probe_for(job.config.parameters)
    with assembled(shared, strategy, job.config) as model:
        assert isinstance(model, Classifier)
        start_head(model, fitted.probe)
        job.progress = TrainingProgress(
            steps=0, tokens=sum(shared.context.items("train").lengths), earlier=fitted.seconds
        )
        for example, length in zip(
            shared.context.items("train").examples,
            shared.context.items("train").lengths,
            strict=True,
        ):
            if example.source:
                job.progress.saw(example.source, 1, length)
        job.peak_memory_gib = fitted.peak_gib
        start = time.perf_counter()
        evaluation = job.judge().evaluate(model)
        job.progress.evaluation_seconds = time.perf_counter() - start
        job.tell(job.rung_report(job.config.budget.rungs, evaluation, None, epochs=1.0))
        return job.completed(strategy, model, Final(job.config.budget.rungs, evaluation))
