"""Keeps what a trial measured for the next plan on this machine."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import torch

from sweeper.facts.machine import measured
from sweeper.facts.machine.calibration import versions
from sweeper.facts.machine.detect_hardware import processor
from sweeper.facts.machine.measured import shape_of
from sweeper.facts.record import Measured, ModelFacts
from sweeper.hyperparameters import saved_modules
from sweeper.memory.setup import step_extra
from sweeper.trials import Failure, RungReport, TrialConfig, TrialResult
from sweeper.units import GIB

log = logging.getLogger(__name__)

# The first steps of a process fill caches and pools: a shorter trial says little about the next.
_FEWEST_STEPS = 5
# CUDA itself takes a few hundred MiB for each process, which no allocator counts.
_OWN_GIB = 1.0
# A thread that waits for more than nine tenths of the time says nothing about an idle machine.
_LEAST_UNDISTURBED = 0.1


def machine() -> tuple[str, int]:
    """The device that trains here and the cores of the machine (0 for a GPU)."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), 0
    return processor().name, processor().cores


def measurement(
    config: TrialConfig, result: TrialResult, model: ModelFacts, classes: int, scored_items: int
) -> Measured | None:
    """The measurement of one trial's set-up; None if there is none.

    Args:
        classes: Classes of a new head; 0 for the vocabulary.
        scored_items: Validation items that were scored at all rungs together, where evaluation
            was of these alone; else 0.
    """
    out_of_memory = result.failure is not None and result.failure.kind == "out-of-memory"
    if out_of_memory and not _of_set_up(result.failure):
        return None
    trained = result.optimizer_steps >= _FEWEST_STEPS and result.training_seconds > 0
    if not (trained or out_of_memory) or saved_modules(config.parameters):
        return None  # what is kept has no place for modules that train whole
    micro = result.micro_batch or config.micro_batch
    batch = config.micro_batch * config.gradient_accumulation_steps
    steps = max(result.optimizer_steps, 1)
    parameters = config.parameters
    length = result.tokens / (steps * batch * config.gpus) if trained else config.sequence_length
    scored = scored_items if result.evaluation_seconds > 0 else 0
    undisturbed = _undisturbed(result)
    targets = parameters.get("target_modules")
    return Measured.taken_from(
        config,
        shape=shape_of(model),
        micro_batch=micro,
        gradient_accumulation_steps=max(1, batch // micro),
        mean_length=max(1, round(length)),
        r=int(parameters["r"]) if "r" in parameters else None,
        target_modules=None if targets is None else str(targets),
        lora_dropout=float(parameters.get("lora_dropout", 0.0)),
        seconds_per_step=undisturbed * result.training_seconds / steps if trained else None,
        seconds_per_item=undisturbed * result.evaluation_seconds / scored if scored else None,
        peak_gib=None if out_of_memory else result.peak_memory_gib,
        out_of_memory=out_of_memory,
        classes=classes,
        extra=step_extra(parameters),
        threads=None if torch.cuda.is_available() else torch.get_num_threads(),
        when=datetime.now(UTC).date().isoformat(),
        versions=versions(),
    )


def _of_set_up(failure: Failure | None) -> bool:
    """Whether memory ran out for the set-up, and not for loading or for other processes."""
    if failure is None or failure.loading:
        return False
    if failure.had_gib is None or not torch.cuda.is_available():
        return True
    return bool(torch.cuda.mem_get_info()[1] / GIB - failure.had_gib < _OWN_GIB)


def _undisturbed(result: TrialResult) -> float:
    """The share of a trial's time that it would have taken with nothing else on the machine."""
    whole = result.seconds
    return max(1.0 - result.waited_seconds / whole, _LEAST_UNDISTURBED) if whole > 0 else 1.0


def keep(
    config: TrialConfig,
    result: TrialResult,
    model: ModelFacts,
    classes: int,
    rungs: list[RungReport],
    validation_items: int,
) -> None:
    """Keep a trial's measurement; if the cache cannot be written, it is only logged.

    Args:
        validation_items: Validation items of the whole split.
    """
    # Further measures have their time in that of evaluation, and items of other lengths.
    alone = not (result.measures or any(report.measures for report in rungs))
    scored = sum(report.items for report in rungs)
    if rungs and result.best_rung not in (None, rungs[-1].rung):
        scored += validation_items  # its best rung's weights, once more on all of them
    record = measurement(config, result, model, classes, scored if alone else 0)
    if record is None:
        return
    try:
        measured.append(record, *machine())
    except OSError as error:
        log.warning("what this trial measured could not be kept: %s", error)
