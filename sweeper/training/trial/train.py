"""One trial from its configuration to its result.

The failures that training can bring about become results here; anything else is a bug and passes.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.neftune import activate_neftune, deactivate_neftune

from sweeper.errors import SweeperError, TooLarge
from sweeper.evaluation.evaluator import autocast
from sweeper.features import parts
from sweeper.hyperparameters import NEFTUNE, PADDING_FREE
from sweeper.plans import autocast_dtype
from sweeper.strategies.strategy import Strategy
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classifier
from sweeper.tasks.sequences.joined import keeps_texts_apart
from sweeper.tasks.task import Feature, Task
from sweeper.tasks.text import TextTask
from sweeper.training.checkpoints import UNFINISHED, checkpoint_folder, drop_checkpoints, seal
from sweeper.training.loop.batch_order import LEAST, LengthGroupedBatches, Mixture, mixture
from sweeper.training.loop.checkpointing import BEST, Saved, save_weights, state_file
from sweeper.training.loop.device_memory import (
    Batching,
    PeakMemory,
    bytes_of,
    in_batches_that_fit,
    is_out_of_memory,
    release_memory,
)
from sweeper.training.loop.extension import Extension
from sweeper.training.loop.quick_steps import quick_steps
from sweeper.training.loop.ranks_here import gathered, rank_here
from sweeper.training.loop.schedule import optimizer_steps, rung_steps
from sweeper.training.loop.trainer import ORIGIN, TrialTrainer, arguments
from sweeper.training.loop.training_progress import TrainingDiverged, TrainingProgress
from sweeper.training.trial.assembly import assembled, start_head
from sweeper.training.trial.ranks import TRAINER_LOG, Ranks
from sweeper.training.trial.rungs import RungWatch
from sweeper.training.trial.trial_job import Final, TrialJob
from sweeper.trials import TrialConfig, TrialResult

log = logging.getLogger(__name__)

Attempt = Callable[[Batching], TrialResult]
Fitting = Callable[[Batching, Attempt, Callable[[], bool]], TrialResult]

# On a GPU each look at the loss waits for the device; this many steps lie between two of them.
_CUDA_CHECK_EVERY = 10
# What rows without a source are counted as.
ORIGINAL = "original rows"
_LOGGERS = ("sweeper", "transformers", "peft", "accelerate", "py.warnings")


def train_trial(job: TrialJob, fitting: Fitting = in_batches_that_fit) -> TrialResult:
    """Train and score one trial.

    Args:
        fitting: Calls the training with batches, and again with smaller ones where memory runs out.

    Raises:
        Interrupted: It was told to stop.
    """
    with trial_log(job.folder / TRAINER_LOG) as log:
        log.info("%s %s", job.config.strategy, job.config.parameters)
        try:
            result = _train(job, fitting)
        except TrainingDiverged as error:
            result = job.failed("diverged", str(error))
        except TooLarge as error:
            figures = {"needed_gib": error.needed_gib, "had_gib": error.had_gib}
            result = job.failed("out-of-memory", str(error), **figures, loading=error.loading)
        except SweeperError as error:
            result = job.failed("refused", str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            result = job.failed("disk-full", str(error))
        log.info("%s %s", result.state, result.failure or result.metrics)
        return result


def _train(job: TrialJob, fitting: Fitting) -> TrialResult:
    strategy = strategy_named(job.config.strategy)
    if not strategy.gradient_trained:
        return fit_head(job, strategy)
    job.open_checkpoint()
    first = Batching.of(job.saved.manifest if job.saved else job.config)
    if job.plan is None:
        return fitting(first, partial(train_once, job, strategy), lambda: job.evaluating)
    # On several devices; this process prepares their start.
    job.prepare_base()
    job.shared.bases.forget()
    job.context.lent_base.forget()
    result = fitting(first, Ranks(job, job.plan).train, lambda: False)
    return result.model_copy(update=job.of_base())


@contextmanager
def trial_log(path: Path) -> Iterator[logging.Logger]:
    """Collect log records of sweeper and its libraries in a file while the trial runs."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    own = logging.getLogger("sweeper")
    level = own.level
    own.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield logging.getLogger("sweeper.training.trial.train")
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        logging.captureWarnings(False)
        own.setLevel(level)
        handler.close()


def train_once(job: TrialJob, strategy: Strategy, batching: Batching) -> TrialResult:
    """Train with this batching, at the first try from the job's checkpoint if it has one.

    Raises:
        TrainingDiverged: A loss is not finite.
        Interrupted: The trial was told to stop.
        RuntimeError: Out of memory, among others; nothing of the trial is left in memory.
    """
    device = job.context.device
    saved, job.saved = job.saved, None
    # Trainer refers to itself: without this the optimizer of an earlier trial would stand beside
    # this one's base, and count in its peak.
    release_memory()
    job.batching, job.evaluating = batching, False
    if saved is None and rank_here() == 0:
        drop_checkpoints(job.checkpoints_in)  # of a try at larger batches
    extensions = [made for _, extend in parts.EXTEND.all() if (made := extend(job, strategy))]
    lent_base = job.prepare_base()
    for extension in extensions:
        extension.begin(lent_base)
    with assembled(job.shared, strategy, job.config, lent_base) as model:
        peak, loaded = PeakMemory(device), bytes_of(model)
        job.progress = TrainingProgress(
            check_every=_CUDA_CHECK_EVERY if device.type == "cuda" else 1
        )
        checkpoints, saves = job.checkpoints_in, job.config.checkpoints
        output = checkpoints / UNFINISHED if saves else checkpoints
        watch, trainer = _trainer(job, strategy, model, extensions, output, saved)
        state = _TrialState(job, watch, trainer, extensions, lambda: peak.gib(loaded))
        if saved is not None:
            state.restore(saved)
            log.info("continues from %s, step %d", saved.folder.name, job.progress.steps)
        if saves:
            watch.save = state.save
        noise = float(job.config.parameters.get(NEFTUNE, 0.0))
        with quick_steps(model), _noisy_embeddings(model, noise):
            trainer.train(resume_from_checkpoint=str(saved.folder) if saved else None)
        job.peak_memory_gib = state.peak_gib()
        if watch.pruned_at is not None:
            return job.pruned(model, watch.pruned_at)
        final = watch.finish()
        job.measured = watch.measure(at_end=True)
        return job.completed(strategy, model, final)


@contextmanager
def _noisy_embeddings(model: nn.Module, alpha: float) -> Iterator[None]:
    """A context in which embeddings have NEFTune's noise in training mode (arXiv:2310.05914).

    Trainer's own switch finds no embeddings in a model with a head of ours.
    """
    base: Any = model.base if isinstance(model, Classifier) else model
    base = base.get_base_model() if isinstance(base, PeftModel) else base
    hook = activate_neftune(base, alpha) if alpha else None
    try:
        yield
    finally:
        if hook is not None:
            deactivate_neftune(base, hook)


@dataclass
class _TrialState:
    """The state of a trial on this rank, saved at rungs into checkpoints of which the newest stays.

    All ranks of a trial save at the same point.

    Args:
        extensions: What features add.
        peak: Memory peak since this attempt began, in GiB.
    """

    job: TrialJob
    watch: RungWatch
    trainer: TrialTrainer
    extensions: Sequence[Extension]
    peak: Callable[[], float]
    earlier_peak: float = 0.0

    def peak_gib(self) -> float:
        """The peak over all attempts that this trial was continued in."""
        return max(self.peak(), self.earlier_peak)

    def restore(self, saved: Saved) -> None:
        """Go on from a checkpoint."""
        state = saved.state()
        self.job.progress.restore(state["progress"])
        self.watch.restore(state["rungs"], saved.best_weights())
        for extension, kept in zip(self.extensions, state["extensions"], strict=True):
            extension.restore(kept)
        self.earlier_peak = state["peak_gib"]

    def save(self, rung: int) -> None:
        """Write the checkpoint of a rung. If it cannot be written, training goes on."""
        folder, failed = None, ""
        try:
            folder = self._written()
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            failed = str(error)
        errors = [text for text in gathered(failed) if text]
        if rank_here() == 0:
            attempt = self.job.checkpoints_in
            if folder is not None and not errors:
                try:
                    seal(folder, self.job.manifest(rung), checkpoint_folder(attempt, rung))
                    drop_checkpoints(attempt, keep=rung)
                except OSError as error:
                    errors = [str(error)]
            if errors:
                log.warning("the checkpoint of rung %d could not be written: %s", rung, errors[0])
                shutil.rmtree(attempt / UNFINISHED, ignore_errors=True)
        gathered("")  # before any of them writes the next one

    def _written(self) -> Path:
        folder = self.trainer.write_checkpoint()
        state = {
            "progress": self.job.progress.state(),
            "rungs": self.watch.state(),
            "extensions": [extension.state() for extension in self.extensions],
            "peak_gib": self.peak_gib(),
        }
        torch.save(state, folder / state_file())
        if rank_here() == 0 and (best := self.watch.best_weights()) is not None:
            save_weights(best, folder / BEST)
        return folder


def _trainer(
    job: TrialJob,
    strategy: Strategy,
    model: nn.Module,
    extensions: Sequence[Extension],
    output: Path,
    saved: Saved | None,
) -> tuple[RungWatch, TrialTrainer]:
    config, batching, train = job.config, job.batching, len(job.context.items("train"))
    effective = batching.micro_batch * batching.gradient_accumulation_steps * config.gpus
    steps = optimizer_steps(train, effective, config.budget.epochs)
    per_epoch = optimizer_steps(train, effective, 1.0)
    at = rung_steps(steps, config.budget.rungs, config.budget.rung_every)
    least = 1 if config.task == "classification" else LEAST
    task = job.context.task.for_training(config.parameters)
    training_weights = task.training_weights(job.context.items("validation").examples)
    watch = RungWatch(job, model, at, per_epoch, training_weights, extensions)
    settings = arguments(
        output,
        steps=steps,
        micro_batch=batching.micro_batch,
        accumulation=batching.gradient_accumulation_steps,
        parameters=config.parameters,
        optimizer=config.optimizer,
        seed=config.seed,
        device=job.context.device,
    )
    job.joined = _joins(config, task, model)
    bases = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    job.attention = next(bases).config._attn_implementation
    for extension in extensions:
        extension.attend(job.attention)
    features, lengths, mixed = _rows(job)
    trainer = TrialTrainer(
        model=model,
        task=task,
        features=features,
        order=LengthGroupedBatches(
            lengths,
            effective,
            config.seed,
            least,
            epoch=saved.manifest.optimizer_steps // per_epoch if saved else 0,
            mixture=mixed,
        ),
        strategy=strategy,
        parameters=config.parameters,
        progress=job.progress,
        mixed=job.mixed,
        settings=settings,
        callbacks=[watch],
        extensions=extensions,
        join=job.joined,
    )
    return watch, trainer


def _rows(job: TrialJob) -> tuple[list[Feature], list[int], Mixture | None]:
    """The features to train on, their lengths, and how an epoch is mixed of them."""
    context, config, train = job.context, job.config, job.context.items("train")
    parts = [train, context.further_items(config.parameters)]
    examples = [example for part in parts for example in part.examples]
    features = [feature for part in parts for feature in part.features]
    if any(example.source for example in examples):
        features = [
            {**feature, ORIGIN: example.source or ORIGINAL}
            for feature, example in zip(features, examples, strict=True)
        ]
    lengths = [length for part in parts for length in part.lengths]
    further, weights = len(examples) - len(train), context.dataset.weights
    return features, lengths, mixture(train.examples, further, weights, config.seed)


def _joins(config: TrialConfig, task: Task, model: nn.Module) -> bool:
    """Whether the texts of a batch are joined without padding."""
    parameters = config.parameters
    # The noise of NEFTune depends on the length of a row.
    if parameters.get(NEFTUNE) or not isinstance(task, TextTask):
        return False
    if not parameters.get(PADDING_FREE):
        return False
    with autocast(next(model.parameters()).device, autocast_dtype(config.precision)):
        if keeps_texts_apart(model):
            return True
    log.warning("texts are padded, since this model cannot read joined texts one by one")
    return False


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
        evaluation = job.evaluator().evaluate(model)
        job.progress.evaluation_seconds = time.perf_counter() - start
        job.tell(job.rung_report(job.config.budget.rungs, evaluation, None, epochs=1.0))
        return job.completed(strategy, model, Final(job.config.budget.rungs, evaluation))
