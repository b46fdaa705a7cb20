"""Trains one trial by gradient: the Trainer, the strategy's groups, the rungs."""

from __future__ import annotations

from torch import nn

from sweeper.strategies.base import Strategy
from sweeper.training.base_model.first_stage import FirstStage
from sweeper.training.loop.batch_order import LEAST, LengthGroupedBatches
from sweeper.training.loop.fast_steps import quick_steps
from sweeper.training.loop.out_of_memory import Batching, TrialPhase, release_memory
from sweeper.training.loop.peak_memory import PeakMemory, bytes_of
from sweeper.training.loop.progress import TrainingProgress
from sweeper.training.loop.schedule import optimizer_steps, rung_steps, schedule
from sweeper.training.loop.sharding import gather_trained, layer_classes
from sweeper.training.loop.trainer import Guards, TrialTrainer, arguments
from sweeper.training.trial.assembly import assembled, head_names
from sweeper.training.trial.guards import look_at_general, prepared
from sweeper.training.trial.job import Job
from sweeper.training.trial.rungs import RungWatch
from sweeper.trials import TrialResult

# On a GPU each look at the loss waits for the device; this many steps lie between two of them.
_CUDA_CHECK_EVERY = 10


def train_once(job: Job, strategy: Strategy, batching: Batching, phase: TrialPhase) -> TrialResult:
    """Train from clean weights with this batching.

    Raises:
        Diverged: A loss is not finite.
        Interrupted: The trial was told to stop.
        RuntimeError: Out of memory, among others; nothing of the trial is left in memory.
    """
    device = job.context.device
    # Trainer refers to itself: without this the optimizer of an earlier trial would stand beside
    # this one's base, and count in its peak.
    release_memory()
    job.batching = batching
    look_at_general(job, strategy, phase)
    read_corpus(job)
    keeper = job.read_base.keeper if job.read_base else None
    ready = prepared(job, strategy, keeper or job.context.keeper)
    with assembled(job.shared, strategy, job.config, keeper) as model:
        peak, loaded = PeakMemory(device), bytes_of(model)
        job.progress = TrainingProgress(
            check_every=_CUDA_CHECK_EVERY if device.type == "cuda" else 1
        )
        watch, trainer = _trainer(job, strategy, model, phase, ready.beside(model))
        with quick_steps(model):
            trainer.train()
        job.peak_memory_gib = peak.gib(loaded)
        if watch.pruned_at is not None:
            return job.pruned(model, watch.pruned_at)
        final = watch.finish()
        if job.watches_general:
            watch.score_general()
        gather_trained(model)
        return job.completed(strategy, model, final)


def read_corpus(job: Job) -> None:
    """Let the base read the corpus first, where the trial says so; once for all such trials."""
    config = job.config
    stage = FirstStage.of(
        config.parameters,
        job.batching.micro,
        config.precision,
        config.sequence_length,
        config.gradient_checkpointing,
    )
    if stage is not None:
        job.take_read_base(job.shared.first_stages.base(stage, job.should_stop))
    elif job.context.device.type == "cuda":
        job.shared.first_stages.forget()  # one base at a time on a GPU


def _trainer(
    job: Job, strategy: Strategy, model: nn.Module, phase: TrialPhase, guards: Guards
) -> tuple[RungWatch, TrialTrainer]:
    config, batching = job.config, job.batching
    train = job.context.items("train")
    effective = batching.micro * batching.accumulation * config.gpus
    steps = optimizer_steps(len(train), effective, config.budget.epochs)
    per_epoch = optimizer_steps(len(train), effective, 1.0)
    at = rung_steps(steps, config.budget.rungs, config.budget.rung_every)
    least = 1 if config.task == "classification" else LEAST
    task = job.context.task.for_training(config.parameters)
    emphasis = task.emphasis(job.context.items("validation").examples)
    watch = RungWatch(job, model, at, per_epoch, phase, emphasis)
    settings = arguments(
        job.folder,
        steps=steps,
        micro_batch=batching.micro,
        accumulation=batching.accumulation,
        plan=schedule(config.parameters, steps),
        parameters=config.parameters,
        optimizer=config.optimizer,
        seed=config.seed,
        device=job.context.device,
        sharded=layer_classes(model) if config.sharding == "fsdp" else None,
    )
    trainer = TrialTrainer(
        model=model,
        task=task,
        features=train.features,
        order=LengthGroupedBatches(train.lengths, effective, config.seed, least),
        # Later, since spreading a model over devices makes other tensors of its weights.
        groups=lambda: strategy.parameter_groups(model, config.parameters, head_names(model)),
        progress=job.progress,
        mixed=job.mixed,
        settings=settings,
        callbacks=[watch],
        guards=guards,
    )
    return watch, trainer
