"""Requests to processes with torch about one set-up, and their results."""

from sweeper.artifact import Record
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup


class SetupRequest(Record):
    """A set-up to trace without weights."""

    model: ModelFacts
    setup: Setup


class ProbeRequest(SetupRequest):
    """A set-up whose training steps are measured; examples have ``mean_length`` tokens on
    average."""

    mean_length: int


class Probed(Record):
    """Measured time and memory of training steps.

    Args:
        peak_gib: Peak as a trial measures it; None, like reserved memory and time, if memory ran
            out.
        reserved_gib: Reserved by CUDA's allocator; None on a CPU.
        free_gib: Free memory of the device before loading, out of ``total_gib``.
    """

    peak_gib: float | None = None
    reserved_gib: float | None = None
    seconds_per_step: float | None = None
    out_of_memory: bool = False
    free_gib: float = 0.0
    total_gib: float = 1.0
