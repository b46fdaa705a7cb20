"""What a counter of somebody else's run shows: the tensors, and what its allocator keeps beside.

PyTorch's allocator keeps blocks that were freed. Weights and optimizer states stay where they
are; what a step allocates and frees leaves gaps. So the reserve is a share of what *moves*: of the
peak, everything that is not held between steps. Rows of several sources agree on that, and on no
constant and no share of the whole; see the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.memory.records import Case
from sweeper.memory.estimate import CONTEXT_GIB, phases, worst_phase
from sweeper.units import GIB

#: What decides how many gaps there are.
Shapes = Literal["fixed", "logits", "changing"]
#: CUDA context on a V100 with the libraries of 2022, as transformers' performance guide measured.
VOLTA_CONTEXT_GIB = 1.31
#: By how much weights and states may differ from the formula: buffers, rounding to blocks.
_HELD_OFF = 0.02


@dataclass(frozen=True)
class Band:
    """Shares of what moves: how far measurements lie below and above the prediction."""

    below: float
    above: float


@dataclass(frozen=True)
class Fitted:
    """All that is fitted; everything else follows from the operations of a step.

    Args:
        reserve: The allocator's reserve, as a share of what moves, where batches have one shape
            (``fixed``) and where it changes.
        bands: Of the interval, by ``band_of``.
    """

    reserve: Mapping[str, float]
    bands: Mapping[str, Band]


#: Fitted to all sources by ``python -m benchmarks.memory --from``, which prints them.
FITTED = Fitted(
    reserve={"fixed": 0.13, "changing": 1.92},
    bands={
        "fixed": Band(0.23, 0.40),
        "logits": Band(1.10, 0.42),
        "changing": Band(1.43, 4.66),
        "guessed": Band(2.49, 9.33),
    },
)


@dataclass(frozen=True)
class Shown:
    """GiB that a counter shows at the peak, and what they are made of."""

    peak: float
    low: float
    high: float
    tensors: float
    moving: float
    reserve: float
    context: float


def shapes_of(case: Case) -> Shapes:
    """Whether blocks of the same sizes return at each step.

    Whole logits are blocks of gigabytes: layers take parts of a freed one, and the next logits
    find no room in it, so that the allocator holds as much once more. At the optimizer's step
    there are weights, gradients and states alone, whose shapes never change.
    """
    if worst_phase(case.model, case.setup).name == "optimizer step":
        return "fixed"
    if case.lengths == "changing":
        return "changing"
    setup = case.setup
    whole = not setup.classes and setup.loss in ("full", "kernel")
    return "logits" if whole and not case.emptied else "fixed"


def band_of(case: Case) -> str:
    """Which measurements tell how sure a prediction of this case is."""
    if not case.known:
        return "guessed"
    return "fixed" if case.counter == "allocated" else shapes_of(case)


def share_of(case: Case, fitted: Fitted) -> float:
    """The allocator's reserve as a share of what moves, logits aside."""
    return fitted.reserve["changing" if shapes_of(case) == "changing" else "fixed"]


def _logits(case: Case) -> float:
    """GiB of whole logits and what the loss makes of them, where they decide the peak."""
    if shapes_of(case) != "logits":
        return 0.0
    (loss,) = (each for each in phases(case.model, case.setup) if each.name == "loss")
    return loss.parts["logits and loss"] / GIB


def shown(case: Case, fitted: Fitted = FITTED) -> Shown:
    """What the case's own counter should show, with a 90% interval."""
    worst = worst_phase(case.model, case.setup)
    tensors, held = worst.total / GIB, worst.held / GIB
    moving = tensors - held
    reserve = context = 0.0
    if case.counter != "allocated":
        again = min(_logits(case), moving)
        reserve = again + share_of(case, fitted) * (moving - again)
    if case.counter == "device":
        context = VOLTA_CONTEXT_GIB if case.legacy else CONTEXT_GIB
    band = fitted.bands[band_of(case)]
    peak = tensors + reserve + context
    low = max(peak - _HELD_OFF * held - band.below * moving, _HELD_OFF * peak)
    high = peak + _HELD_OFF * held + band.above * moving
    if case.counter != "allocated" and case.limit_gib is not None:
        # A full device makes the allocator give back what is free before it fails.
        elsewhere = CONTEXT_GIB if case.counter == "reserved" else 0.0
        room = max(case.limit_gib - elsewhere, tensors + context)
        reserve -= max(peak - room, 0.0)
        peak, high = min(peak, room), min(high, room)
    return Shown(peak, min(low, peak), max(high, peak), tensors, moving, reserve, context)
