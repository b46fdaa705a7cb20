"""Trains once more, on held-out rows as well, in a process of its own.

The folder appears once it is complete: an interrupted training leaves a folder that ends in
``.part``, and continues from a checkpoint in it as a trial does.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from sweeper.backend import Decision
from sweeper.child_process import tell_progress
from sweeper.data.examples import Dataset, digest
from sweeper.data.prepared import unchanged_dataset
from sweeper.data.splits import in_order
from sweeper.errors import SweeperError
from sweeper.features.refit._refit import REFIT_RECORD, RefitRequest
from sweeper.objective import LOSS
from sweeper.plans import Plan
from sweeper.runfolder import ITEM_LOSSES, WEIGHTS, RunFolder
from sweeper.specfile import resolve
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.training.base_model.frozen_features import FrozenFeatures
from sweeper.training.checkpoints import UNFINISHED, drop_checkpoints, newest_checkpoint
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import MEASURE_ITEMS


def refit(request: RefitRequest) -> None:
    """Train, and write the request's folder.

    Raises:
        DataError: The data is not what the run read.
        SweeperError: The training failed.
    """
    run = RunFolder(Path(request.run))
    # Validation rows are trained on, so no rows are left to choose weights by an objective.
    plan = Plan.read(run.plan).model_copy(update={"objective": LOSS})
    spec = resolve({}, run.spec)
    why = "The configuration was chosen on other rows, and the splits may differ."
    dataset = unchanged_dataset(spec, run.data_changes, plan.facts.data.fingerprint, why)
    part = Path(request.folder + ".part")
    checkpoint = _checkpoint_in(part)
    backend = TorchBackend(plan, spec, on_progress=tell_progress, dataset=dataset)
    strengths = _probe_strength(request, backend)
    joined_dataset = _with_held_out(dataset, request)
    shared = TorchBackend(plan, spec, on_progress=tell_progress, dataset=joined_dataset).shared(
        request.config.model
    )
    if strengths:
        shared.frozen_features = FrozenFeatures(shared.context, strengths)
    # As the run's folder, ``part`` also keeps the base, if a feature trained one on a corpus.
    job = TrialJob(
        shared,
        request.config,
        folder=part,
        report=lambda _: Decision.CONTINUE,
        run=part,
        checkpoint=checkpoint,
    )
    result = train_trial(job)
    if result.state != "COMPLETE":
        detail = result.failure.detail if result.failure else result.state
        raise SweeperError("the training failed", why=detail, where=str(part / "trainer.log"))
    for figures in (ITEM_LOSSES, MEASURE_ITEMS):  # scores of rows that the model was trained on
        (part / figures).unlink(missing_ok=True)
    drop_checkpoints(part)
    with (part / WEIGHTS / "README.md").open("a", encoding="utf-8") as card:
        card.write(request.card)
    request.write(part / REFIT_RECORD)
    part.rename(request.folder)


def _checkpoint_in(part: Path) -> Path | None:
    """The newest checkpoint of an interrupted training, if any. Removes the weights beside it."""
    part.mkdir(parents=True, exist_ok=True)
    for folder in (WEIGHTS, UNFINISHED):
        shutil.rmtree(part / folder, ignore_errors=True)
    checkpoint = newest_checkpoint(part)
    return checkpoint and checkpoint[0]


def _with_held_out(dataset: Dataset, request: RefitRequest) -> Dataset:
    """The data set whose train split holds the rows of all requested splits.

    Validation stays, since the last rung is scored on it; that score is discarded.
    """
    rows = [example for split in request.splits for example in dataset.splits[split]]
    return replace(
        dataset,
        splits={**dataset.splits, "train": in_order(rows)},
        fingerprint=digest(f"{dataset.fingerprint} {request.splits}"),
    )


def _probe_strength(request: RefitRequest, backend: TorchBackend) -> tuple[float, ...]:
    """The regularisation of the probe, chosen as in the trial; empty if no probe is fitted.

    The choice is made on the original validation split: on rows to which the probe is fitted, the
    weakest regularisation would always win.
    """
    config = request.config
    is_fitted = not strategy_named(config.strategy).gradient_trained
    if not is_fitted and config.parameters.get("head_init") != "probe":
        return ()
    fitted_probe = backend.shared(config.model).frozen_features.probe_for(config.parameters)
    backend.close()
    return (fitted_probe.probe.strength,)
