"""Stores what a trial measured, for later plans on this machine."""

from __future__ import annotations

import logging

import torch

from sweeper.facts.machine import measured
from sweeper.facts.machine.hardware import processor
from sweeper.facts.machine.measured import dated_measurement
from sweeper.facts.record import Measured, ModelFacts
from sweeper.hyperparameters import saved_modules
from sweeper.memory.setup import extra_memory_and_time
from sweeper.training.base_model.context import ModelContext
from sweeper.trials import Failure, RungReport, TrialConfig, TrialResult
from sweeper.units import GIB

log = logging.getLogger(__name__)

# A trial of fewer steps is not representative: the first steps of a process fill caches.
_MIN_STEPS = 5
# Memory that CUDA may take by itself: a few hundred MiB per process, not counted by allocators.
_CUDA_CONTEXT_GIB = 1.0
# The share of a trial's seconds in which no other process took its CPU cores counts as at least
# this, since the time on an idle machine cannot be estimated from a smaller one.
_MIN_UNDISTURBED = 0.1


def machine() -> tuple[str, int]:
    """The name of the training device, and the cores of the machine (0 for a GPU)."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), 0
    return processor().name, processor().cores


def trial_measurement(
    config: TrialConfig, result: TrialResult, model: ModelFacts, classes: int, scored_items: int
) -> Measured | None:
    """The memory and time that a trial measured, as a record; None if they are unusable.

    Args:
        classes: Classes of a new head; 0 without one.
        scored_items: Validation items scored at all rungs together; 0 if evaluation also measured
            other items.
    """
    out_of_memory = result.failure is not None and result.failure.kind == "out-of-memory"
    if out_of_memory and not _is_due_to_setup(result.failure):
        return None
    trained = result.optimizer_steps >= _MIN_STEPS and result.training_seconds > 0
    if not (trained or out_of_memory) or saved_modules(config.parameters):
        return None  # a record has no field for ``modules_to_save``
    setup = config.setup
    micro = result.micro_batch or setup.micro_batch
    batch = setup.micro_batch * setup.gradient_accumulation_steps
    steps = max(result.optimizer_steps, 1)
    parameters = config.parameters
    length = result.tokens / (steps * batch * setup.gpus) if trained else setup.sequence_length
    scored = scored_items if result.evaluation_seconds > 0 else 0
    undisturbed_share = _undisturbed_share(result)
    targets = parameters.get("target_modules")
    # A smaller micro-batch, taken when memory ran out, needs more steps of accumulation.
    batches = {"micro_batch": micro, "gradient_accumulation_steps": max(1, batch // micro)}
    return dated_measurement(
        setup.model_copy(update=batches),
        model,
        strategy=config.strategy,
        mean_length=max(1, round(length)),
        r=int(parameters["r"]) if "r" in parameters else None,
        target_modules=None if targets is None else str(targets),
        lora_dropout=float(parameters.get("lora_dropout", 0.0)),
        seconds_per_step=undisturbed_share * result.training_seconds / steps if trained else None,
        seconds_per_item=undisturbed_share * result.evaluation_seconds / scored if scored else None,
        peak_gib=None if out_of_memory else result.peak_memory_gib,
        out_of_memory=out_of_memory,
        classes=classes,
        extra=extra_memory_and_time(parameters),
        threads=None if torch.cuda.is_available() else torch.get_num_threads(),
    )


def _is_due_to_setup(failure: Failure | None) -> bool:
    """Whether memory ran out due to the set-up, not to loading or other processes.

    ``had_gib`` is the GPU memory that other processes left to this one. If it is clearly less than
    the whole, those processes caused the failure.
    """
    if failure is None or failure.loading:
        return False
    if failure.had_gib is None or not torch.cuda.is_available():
        return True
    whole_gib = torch.cuda.mem_get_info()[1] / GIB
    return bool(whole_gib - failure.had_gib < _CUDA_CONTEXT_GIB)


def _undisturbed_share(result: TrialResult) -> float:
    """The share of a trial's seconds that it would have taken on an idle machine."""
    seconds = result.seconds
    return max(1.0 - result.waited_seconds / seconds, _MIN_UNDISTURBED) if seconds > 0 else 1.0


def store_measurement(
    config: TrialConfig, result: TrialResult, context: ModelContext, rungs: list[RungReport]
) -> None:
    """Store a trial's measurement; only log a warning if the cache cannot be written."""
    # The evaluation time includes further measures, whose items have other lengths.
    only_validation = not (result.measures or any(report.measures for report in rungs))
    scored = sum(report.items for report in rungs)
    if rungs and result.best_rung not in (None, rungs[-1].rung):
        # The best rung's weights are scored again on all items.
        scored += len(context.dataset.splits["validation"])
    model, classes = context.facts, context.head_classes
    record = trial_measurement(config, result, model, classes, scored if only_validation else 0)
    if record is None:
        return
    try:
        measured.append(record, *machine())
    except OSError as error:
        log.warning("the measurement of this trial could not be stored: %s", error)
