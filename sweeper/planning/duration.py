"""How long a trial takes: seconds from FLOPs, bandwidth and the device; no torch."""

from __future__ import annotations

from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.planning.memory import Setup
from sweeper.planning.plan import Duration


def trial_duration(
    model: ModelFacts,
    setup: Setup,
    hardware: HardwareFacts,
    train_tokens: int,
    evaluation_tokens: int,
) -> Duration:
    """Seconds of one trial at full budget.

    Args:
        train_tokens: Trained tokens over the whole trial, padding included.
        evaluation_tokens: Validated tokens over all rungs.
    """
    backward = 2.0 if setup.strategy == "full" else 1.0
    forward = 1.0 + (1.0 if setup.gradient_checkpointing else 0.0)
    flops = 2.0 * model.parameters * (train_tokens * (forward + backward) + evaluation_tokens)
    if hardware.device == "cpu":
        rate = 20e9 * (hardware.cpu_cores or 1)
    else:
        rate = 0.4e12 * (hardware.bf16_tflops or 100.0)
    seconds = flops / rate
    return Duration(seconds=seconds, low=seconds / 2, high=seconds * 2)
