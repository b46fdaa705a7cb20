"""From a configuration to the set-up that its time and memory depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sweeper.facts.record import Measured
from sweeper.hyperparameters import (
    BATCH,
    KL,
    OPTIMIZER,
    REPLAY,
    TARGET_MODULES,
    modules_of,
    saved_modules,
)
from sweeper.memory.estimate import Setup
from sweeper.memory.setup import Quantization, further_parameters
from sweeper.plans import Candidate
from sweeper.spec import Scalar

# DDP is tested over gloo on a CPU, FSDP is not tested anywhere.
FSDP = "FSDP, not tested on GPUs"


def candidate_setup(
    candidate: Candidate, parameters: Mapping[str, Scalar], length: int, classes: int, device: str
) -> Setup:
    """The set-up of one configuration of a candidate.

    Args:
        candidate: Candidate of the plan.
        parameters: Parameters of the configuration.
        length: Mean tokens of an example.
        classes: Classes of a new head; 0 for the vocabulary.
        device: ``cpu`` or ``cuda``.
    """
    planned = candidate.micro_batch * candidate.gradient_accumulation_steps
    batch = int(parameters.get(BATCH, planned * candidate.gpus_per_trial))
    micro, accumulation = _cut(batch, candidate.micro_batch, candidate.gpus_per_trial)
    quantization: Quantization | None = candidate.quantization  # type: ignore[assignment]
    base = Setup(
        strategy=candidate.strategy,
        micro_batch=micro,
        gradient_accumulation_steps=accumulation,
        sequence_length=length,
        evaluation_batch=candidate.evaluation_batch,
        evaluation_length=length,
        gradient_checkpointing=candidate.gradient_checkpointing,
        precision=candidate.precision,
        optimizer=candidate.optimizer,
        quantization=quantization,
        gpus=candidate.gpus_per_trial,
        sharding="fsdp" if candidate.gpus_per_trial > 1 else "none",
        classes=classes,
        device="cuda" if device == "cuda" else "cpu",
    )
    further = sorted(further_parameters(base.traits) & parameters.keys())
    more = tuple((name, parameters[name]) for name in further)
    return replace(base, parameters=more, **_adapter_fields(parameters))


def measured_setup(measured: Measured, classes: int, device: str) -> Setup:
    """The set-up that was measured, at its mean length."""
    quantization: Quantization | None = measured.quantization  # type: ignore[assignment]
    precision: Any = measured.precision
    parameters = {
        name: value
        for name in ("r", TARGET_MODULES, "lora_dropout")
        if (value := getattr(measured, name)) is not None
    }
    base = Setup(
        strategy=measured.strategy,
        micro_batch=measured.micro_batch,
        gradient_accumulation_steps=measured.gradient_accumulation_steps,
        sequence_length=measured.mean_length,
        evaluation_batch=measured.evaluation_batch,
        evaluation_length=measured.mean_length,
        gradient_checkpointing=measured.gradient_checkpointing,
        precision=precision,
        optimizer=measured.optimizer,
        quantization=quantization,
        gpus=measured.gpus,
        sharding="fsdp" if measured.gpus > 1 else "none",
        classes=classes,
        device="cuda" if device == "cuda" else "cpu",
        replay_share=measured.replay_share,
        near_base=measured.near_base,
    )
    return replace(base, **_adapter_fields(parameters))


def _adapter_fields(parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    fields: dict[str, Any] = {"modules_to_save": saved_modules(parameters)}
    if OPTIMIZER in parameters:
        fields["optimizer"] = str(parameters[OPTIMIZER])
    for name in ("r", "num_virtual_tokens", "encoder_hidden_size", "reduction_factor"):
        if name in parameters:
            fields[name] = int(parameters[name])
    if TARGET_MODULES in parameters:
        fields["target_modules"] = modules_of(str(parameters[TARGET_MODULES]))
    if "lora_dropout" in parameters:
        fields["lora_dropout"] = float(parameters["lora_dropout"])
    if "placement" in parameters:
        fields["placement"] = str(parameters["placement"])
    for name in ("use_dora", "prefix_projection"):
        if name in parameters:
            fields[name] = bool(parameters[name])
    if REPLAY in parameters:
        fields["replay_share"] = float(parameters[REPLAY])
    if KL in parameters:
        fields["near_base"] = bool(parameters[KL])
    return fields


def _cut(batch: int, largest: int, gpus: int) -> tuple[int, int]:
    """The largest micro-batch up to ``largest`` that divides a device's share of the batch.

    >>> _cut(12, 8, 1)
    (6, 2)
    """
    share = max(1, batch // gpus)
    micro = next(size for size in range(min(share, largest), 0, -1) if share % size == 0)
    return micro, share // micro
