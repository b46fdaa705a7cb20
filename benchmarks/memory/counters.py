"""What the counters of published measurements show for so much allocated memory."""

from __future__ import annotations

from typing import Literal

from sweeper.memory.overheads import CONTEXT_GIB

Counter = Literal["allocated", "reserved", "device"]

#: Memory that PyTorch's allocator holds beside the tensors where there is plenty. Fitted: the
#: median over the rows of PEFT's method comparison that state reserved memory.
RESERVED = 1.08
#: ``CONTEXT_GIB`` on a V100 with the libraries of 2022, as transformers' performance guide
#: measured it.
VOLTA_CONTEXT_GIB = 1.31


def counted(allocated_gib: float, counter: Counter, context_gib: float = CONTEXT_GIB) -> float:
    """What the counter shows at the peak."""
    if counter == "allocated":
        return allocated_gib
    reserved = allocated_gib * RESERVED
    return reserved + context_gib if counter == "device" else reserved
