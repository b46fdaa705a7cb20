"""The answer of the process that makes a dry run. No torch."""

from sweeper.artifact import Record


class DryRun(Record):
    """The peak of all tensors in one step of the real model class, adapter and optimizer.

    Args:
        parts: GiB by kind at the peak.
    """

    peak_gib: float
    phase: str
    parts: dict[str, float]
    trainable_parameters: int
    seconds: float
