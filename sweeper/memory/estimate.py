"""How much memory one device needs to train: a closed formula, no torch.

Adds up what a set-up holds at each phase of a step and takes the largest. Knows nothing about
which set-up is wise.
"""

from __future__ import annotations

from functools import lru_cache

from sweeper.facts.record import ModelFacts
from sweeper.memory.overheads import BEST_COPY, OVERHEADS, overheads, spread
from sweeper.memory.phases import StepPhase, phases
from sweeper.memory.setup import Attention, Loss, Setup, Sharding
from sweeper.memory.states import knows_optimizer, trainable_parameters
from sweeper.plans import MemoryEstimate
from sweeper.units import GIB

__all__ = [
    "OVERHEADS", "Attention", "Loss", "Setup", "Sharding", "estimate", "tensors_gib",
    "trainable_parameters", "trial_gib", "worst_phase",
]  # fmt: skip


def worst_phase(model: ModelFacts, setup: Setup) -> StepPhase:
    """The phase of a step, or of evaluation, with the most allocated memory."""
    return max(phases(model, setup), key=lambda phase: phase.total)


@lru_cache(maxsize=4096)
def _estimate(model: ModelFacts, setup: Setup) -> MemoryEstimate:
    worst = worst_phase(model, setup)
    parts = {name: size / GIB for name, size in worst.parts.items() if size > 0}
    tensors = sum(parts.values())
    parts |= overheads(tensors, worst.held / GIB, setup.device)
    if setup.device == "cpu":
        parts[BEST_COPY] = trainable_parameters(model, setup) * setup.trained_bytes / GIB
    peak = sum(parts.values())
    # What malloc keeps is as uncertain as the tensors; a CUDA context and the slack are not.
    fixed = parts["process"] if setup.device == "cpu" else peak - tensors
    low, high = spread(setup, known=model.attention_only).around(peak - fixed)
    return MemoryEstimate(
        peak_gib=peak,
        low_gib=low + fixed,
        high_gib=high + fixed,
        limit_gib=1.0,
        parts=parts,
        assumptions=_assumptions(model, setup, worst.name),
    )


def estimate(model: ModelFacts, setup: Setup, limit_gib: float) -> MemoryEstimate:
    """Peak memory that one device must have, in GiB, with its parts and a 90% interval.

    Args:
        limit_gib: What the device has; handed through.
    """
    return _estimate(model, setup).model_copy(update={"limit_gib": limit_gib})


def tensors_gib(found: MemoryEstimate) -> float:
    """The part of an estimate that PyTorch's counter of allocated memory would show."""
    return found.peak_gib - sum(found.parts.get(name, 0.0) for name in OVERHEADS)


def trial_gib(found: MemoryEstimate) -> float:
    """The part of an estimate that a trial measures: allocated memory, or a process's growth."""
    if "process" in found.parts:
        return found.peak_gib - found.parts["process"]
    return tensors_gib(found)


def _assumptions(model: ModelFacts, setup: Setup, phase: str) -> tuple[str, ...]:
    notes = [
        f"the peak is in this phase: {phase}",
        f"{setup.attention} attention, {setup.loss} loss",
    ]
    if not model.parameters_exact:
        notes.append("the number of parameters is estimated")
    if not model.attention_only:
        notes.append("layers without attention are counted as attention")
    if setup.quantization and model.moe is not None and not setup.experts_are_linear:
        notes.append("routed experts are not quantised")
    if setup.quantization == "int4":
        notes.append("4 bits as GPTQ and AWQ pack them, in groups of 128")
    if "paged" in setup.optimizer:
        notes.append("paged optimizer states are counted as host memory")
    if not knows_optimizer(setup.optimizer):
        notes.append(f"{setup.optimizer} is not known: states as large as AdamW's")
    if not setup.classes and setup.answer_fraction < 1:
        share = f"{setup.answer_fraction:.0%} of the tokens"
        notes.append(f"logits of {share}: answers among the longest examples")
    if model.weights_note:
        notes.append(model.weights_note.rstrip("."))
    if setup.sharding == "fsdp":
        notes.append(f"weights, gradients and states in equal shards on {setup.gpus} devices")
    return tuple(notes)
