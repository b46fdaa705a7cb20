"""The outputs of ``sweeper memory --json`` and of its dry run."""

from typing import Any

from sweeper.artifact import Record
from sweeper.memory.setup import Setup


class DryRun(Record):
    """The peak of all tensors in a training step of the real model class, adapter and optimizer.

    Args:
        phase: What the step allocates at the peak: ``activations`` (forward pass), ``backward
            pass`` or ``optimizer states``.
        parts: GiB at the peak by kind, such as weights or gradients.
        seconds: Time that the dry run took.
    """

    peak_gib: float
    phase: str
    parts: dict[str, float]
    trainable_parameters: int
    seconds: float


class MemoryAnswer(Record):
    """What ``sweeper memory --json`` prints, in GiB of one device.

    Args:
        limit_gib: Memory of the device; if not given, it and ``fits`` are None.
        parts: Size of each use of memory; ``origins`` has the source of each size.
        probe: Figures of a measurement on this machine; None without ``--probe``.
    """

    model: str
    setup: Setup
    peak_gib: float
    low_gib: float
    high_gib: float
    limit_gib: float | None
    parts: dict[str, float]
    assumptions: tuple[str, ...]
    fits: bool | None
    dry_run: DryRun | None
    origins: dict[str, str]
    not_modelled: tuple[str, ...]
    probe: dict[str, Any] | None
