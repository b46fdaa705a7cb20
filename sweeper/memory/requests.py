"""What processes with torch are asked of one set-up, and what they answer. No torch."""

from sweeper.artifact import Record
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup


class SetupRequest(Record):
    """A set-up to follow without weights."""

    model: ModelFacts
    setup: Setup


class ProbeRequest(SetupRequest):
    """A set-up to train a few steps of; examples have ``mean_length`` tokens on average."""

    mean_length: int


class Probed(Record):
    """Time and memory of real steps.

    Args:
        peak_gib: As a trial measures it; None, like the others, where memory ran out.
        reserved_gib: Of CUDA's allocator; None on a CPU.
        free_gib: Of the device, before anything was loaded.
    """

    peak_gib: float | None = None
    reserved_gib: float | None = None
    seconds_per_step: float | None = None
    out_of_memory: bool = False
    free_gib: float = 0.0
    total_gib: float = 1.0
