"""One trial from its configuration to its result.

Expected failures of training become results here; any other exception is a bug and propagates.
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
from sweeper.facts.record import TrainingSetup
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
from sweeper.training.loop.batch_order import (
    MIN_POOL_BATCHES,
    LengthGroupedBatches,
    Mixture,
    mixture,
)
from sweeper.training.loop.checkpointing import BEST, Saved, save_weights, state_file
from sweeper.training.loop.device_memory import (
    PeakMemory,
    bytes_of,
    in_batches_that_fit,
    is_out_of_memory,
    release_memory,
)
from sweeper.training.loop.extension import Extension
from sweeper.training.loop.ranks_here import current_rank, gathered
from sweeper.training.loop.schedule import optimizer_steps, rung_steps
from sweeper.training.loop.trainer import SOURCE_KEY, TrialTrainer, arguments, trainable_cache
from sweeper.training.loop.training_progress import TrainingDiverged, TrainingProgress
from sweeper.training.trial.assembly import assembled, start_head
from sweeper.training.trial.ranks import TRAINER_LOG, Ranks
from sweeper.training.trial.rungs import RungWatch
from sweeper.training.trial.trial_job import Final, TrialJob
from sweeper.trials import TrialConfig, TrialResult

log = logging.getLogger(__name__)

# Trains one trial with a set-up.
TrainWithSetup = Callable[[TrainingSetup], TrialResult]
# Calls training until a set-up fits. Its last argument is a function that says whether the last
# call failed in evaluation.
Retry = Callable[[TrainingSetup, TrainWithSetup, Callable[[], bool]], TrialResult]

# Optimizer steps between two checks of the loss on a GPU, each of which waits for the device.
_CUDA_CHECK_STEPS = 10
# Name under which rows without a source are counted.
NO_SOURCE = "original rows"
# Loggers whose records go into a trial's log.
_LOGGERS = ("sweeper", "transformers", "peft", "accelerate", "py.warnings")


def train_trial(job: TrialJob, retry: Retry = in_batches_that_fit) -> TrialResult:
    """Train and score one trial.

    Args:
        retry: Function that calls the training, again with smaller batches if memory runs out.

    Raises:
        Interrupted: The trial was told to stop.
    """
    with trial_log(job.folder / TRAINER_LOG):
        log.info("%s %s", job.config.strategy, job.config.parameters)
        try:
            result = _train(job, retry)
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


def _train(job: TrialJob, retry: Retry) -> TrialResult:
    strategy = strategy_named(job.config.strategy)
    if not strategy.gradient_trained:
        return fit_head(job, strategy)
    job.open_checkpoint()
    first_setup = job.saved.manifest.setup if job.saved else job.setup
    if job.ranks_plan is None:  # one device
        return retry(first_setup, partial(train_once, job, strategy), lambda: job.evaluating)
    # Several devices: this process makes the base, if a feature asks for one, and then frees its
    # memory for the ranks.
    job.prepare_base()
    job.shared.prepared_bases.release()
    job.context.base_lender.release()
    result = retry(first_setup, Ranks(job, job.ranks_plan).train, lambda: False)
    return result.model_copy(update=job.base_fields())


@contextmanager
def trial_log(path: Path) -> Iterator[None]:
    """A context in which log records of sweeper and its libraries go into a file."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    sweeper_logger = logging.getLogger("sweeper")
    level = sweeper_logger.level
    sweeper_logger.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        logging.captureWarnings(False)
        sweeper_logger.setLevel(level)
        handler.close()


def train_once(job: TrialJob, strategy: Strategy, setup: TrainingSetup) -> TrialResult:
    """Train with this set-up. The first call continues from the job's checkpoint, if it has one.

    Raises:
        TrainingDiverged: A loss is not finite.
        Interrupted: The trial was told to stop.
        RuntimeError: Training failed, for example out of memory; its memory is freed.
    """
    device = job.context.device
    saved, job.saved = job.saved, None
    # A Trainer has reference cycles. Without this call, an earlier trial's optimizer would stay in
    # memory and count in this trial's peak.
    release_memory()
    job.setup, job.evaluating = setup, False
    if saved is None and current_rank() == 0:
        drop_checkpoints(job.checkpoints_folder)  # those of a call with larger batches
    extensions = [made for _, extend in parts.EXTEND.all() if (made := extend(job, strategy))]
    base_lender = job.prepare_base()
    for extension in extensions:
        extension.begin(base_lender)
    with assembled(job.shared, strategy, job.config, base_lender) as model:
        peak, model_bytes = PeakMemory(device), bytes_of(model)
        job.progress = TrainingProgress(
            check_every=_CUDA_CHECK_STEPS if device.type == "cuda" else 1
        )
        folder, saves_checkpoints = job.checkpoints_folder, job.config.checkpoints
        output = folder / UNFINISHED if saves_checkpoints else folder
        watch, trainer = _trainer(job, strategy, model, extensions, output, saved)
        state = _TrialState(job, watch, trainer, extensions, lambda: peak.gib(model_bytes))
        if saved is not None:
            state.restore(saved)
            log.info("continues from %s, step %d", saved.folder.name, job.progress.steps)
        if saves_checkpoints:
            watch.save = state.save
        noise_alpha = float(job.config.parameters.get(NEFTUNE, 0.0))
        with trainable_cache(model), _noisy_embeddings(model, noise_alpha):
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

    Trainer's own option finds no embeddings in a ``Classifier``.
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
    """The state of a trial on this rank, which rungs save as a checkpoint; the newest is kept.

    All ranks of a trial save at the same point.

    Args:
        extensions: Additions of sweeper's features to the training.
        peak: Function for the memory peak since this attempt began, in GiB.
        earlier_peak_gib: The peak of earlier attempts.
    """

    job: TrialJob
    watch: RungWatch
    trainer: TrialTrainer
    extensions: Sequence[Extension]
    peak: Callable[[], float]
    earlier_peak_gib: float = 0.0

    def peak_gib(self) -> float:
        """The memory peak over all attempts of this trial."""
        return max(self.peak(), self.earlier_peak_gib)

    def restore(self, saved: Saved) -> None:
        """Continue from a checkpoint."""
        state = saved.state()
        self.job.progress.restore(state["progress"])
        self.watch.restore(state["rungs"], saved.best_weights())
        for extension, extension_state in zip(self.extensions, state["extensions"], strict=True):
            extension.restore(extension_state)
        self.earlier_peak_gib = state["peak_gib"]

    def save(self, rung: int) -> None:
        """Write the checkpoint of a rung. If it cannot be written, training goes on."""
        folder, error_text = None, ""
        try:
            folder = self._write()
        except (OSError, RuntimeError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            error_text = str(error)
        errors = [text for text in gathered(error_text) if text]
        if current_rank() == 0:
            attempt_folder = self.job.checkpoints_folder
            if folder is not None and not errors:
                try:
                    seal(folder, self.job.manifest(rung), checkpoint_folder(attempt_folder, rung))
                    drop_checkpoints(attempt_folder, keep=rung)
                except OSError as error:
                    errors = [str(error)]
            if errors:
                log.warning("the checkpoint of rung %d could not be written: %s", rung, errors[0])
                shutil.rmtree(attempt_folder / UNFINISHED, ignore_errors=True)
        gathered("")  # a barrier: the checkpoint is complete before a rank writes the next one

    def _write(self) -> Path:
        folder = self.trainer.write_checkpoint()
        state = {
            "progress": self.job.progress.state(),
            "rungs": self.watch.state(),
            "extensions": [extension.state() for extension in self.extensions],
            "peak_gib": self.peak_gib(),
        }
        torch.save(state, folder / state_file())
        if current_rank() == 0 and (best := self.watch.best_weights()) is not None:
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
    config, setup, train_rows = job.config, job.setup, len(job.context.items("train"))
    effective = setup.micro_batch * setup.gradient_accumulation_steps * setup.gpus
    steps = optimizer_steps(train_rows, effective, config.budget.epochs)
    steps_per_epoch = optimizer_steps(train_rows, effective, 1.0)
    rungs_by_step = rung_steps(steps, config.budget.rungs, config.budget.rung_every)
    # Rows are sorted by length within pools of batches. Classes get small pools, since a length can
    # reveal a class.
    min_pool_batches = 1 if config.task == "classification" else MIN_POOL_BATCHES
    task = job.context.task.for_training(config.parameters)
    # Rungs are compared by the loss with the class weights of training.
    item_weights = task.loss_weights(job.context.items("validation").examples)
    watch = RungWatch(job, model, rungs_by_step, steps_per_epoch, item_weights, extensions)
    device, seed = job.context.device, config.seed
    settings = arguments(output, setup, config.parameters, steps, seed, device)
    job.padding_free = _is_padding_free(config, task, model)
    bases = (module for module in model.modules() if isinstance(module, PreTrainedModel))
    job.attention = next(bases).config._attn_implementation
    for extension in extensions:
        extension.use_attention(job.attention)
    encoded_rows, lengths, rows_mixture = _rows(job)
    trainer = TrialTrainer(
        model=model,
        task=task,
        features=encoded_rows,
        order=LengthGroupedBatches(
            lengths,
            effective,
            config.seed,
            min_pool_batches,
            epoch=saved.manifest.optimizer_steps // steps_per_epoch if saved else 0,
            mixture=rows_mixture,
        ),
        strategy=strategy,
        parameters=config.parameters,
        progress=job.progress,
        mixed_dtype=job.mixed_dtype,
        settings=settings,
        callbacks=[watch],
        extensions=extensions,
        padding_free=job.padding_free,
    )
    return watch, trainer


def _rows(job: TrialJob) -> tuple[list[Feature], list[int], Mixture | None]:
    """The encoded rows to train on, their lengths, and how they are mixed in an epoch."""
    context, config, train = job.context, job.config, job.context.items("train")
    splits = [train, context.further_items(config.parameters)]
    examples = [example for part in splits for example in part.examples]
    encoded_rows = [row for part in splits for row in part.features]
    if any(example.source for example in examples):
        encoded_rows = [
            {**row, SOURCE_KEY: example.source or NO_SOURCE}
            for row, example in zip(encoded_rows, examples, strict=True)
        ]
    lengths = [length for part in splits for length in part.lengths]
    further_rows, weights = len(examples) - len(train), context.dataset.weights
    return encoded_rows, lengths, mixture(train.examples, further_rows, weights, config.seed)


def _is_padding_free(config: TrialConfig, task: Task, model: nn.Module) -> bool:
    """Whether the texts of a batch are packed into one row, so that there is no padding."""
    parameters = config.parameters
    # The noise of NEFTune depends on the length of a row.
    if parameters.get(NEFTUNE) or not isinstance(task, TextTask):
        return False
    if not parameters.get(PADDING_FREE):
        return False
    with autocast(next(model.parameters()).device, autocast_dtype(config.setup.precision)):
        if keeps_texts_apart(model):
            return True
    log.warning("texts are padded, since this model does not keep packed texts apart")
    return False


def fit_head(job: TrialJob, strategy: Strategy) -> TrialResult:
    """A trial that fits only a head, on frozen features; it reports the last rung only.

    The probe baseline shares the features and the fit, which are computed once per worker. The
    trial's seconds include both.

    Raises:
        Interrupted: The trial was told to stop.
    """
    shared = job.shared
    fitted = shared.frozen_features.probe_for(job.config.parameters)
    with assembled(shared, strategy, job.config) as model:
        assert isinstance(model, Classifier)
        start_head(model, fitted.probe)
        job.progress = TrainingProgress(
            tokens=sum(shared.context.items("train").lengths), earlier_seconds=fitted.seconds
        )
        for example, length in zip(
            shared.context.items("train").examples,
            shared.context.items("train").lengths,
            strict=True,
        ):
            if example.source:
                job.progress.count_rows(example.source, 1, length)
        job.peak_memory_gib = fitted.peak_gib
        start = time.perf_counter()
        evaluation = job.evaluator().evaluate(model)
        job.progress.evaluation_seconds = time.perf_counter() - start
        job.tell(job.rung_report(job.config.budget.rungs, evaluation, None, epochs=1.0))
        return job.completed(strategy, model, Final(job.config.budget.rungs, evaluation))
