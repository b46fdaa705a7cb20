"""The processes that train one trial together, each with a copy of the model (DDP)."""

from __future__ import annotations

import logging
import os
from typing import Any, TypeVar

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

log = logging.getLogger(__name__)

T = TypeVar("T")


def world_size() -> int:
    """Number of processes that train this trial, as torch.distributed reads it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def current_rank() -> int:
    """The rank of this process."""
    return int(os.environ.get("RANK", "0"))


def gathered(value: T) -> list[T]:
    """The values of all ranks, in order of rank. All ranks must call it at the same point."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def check_wrapped(model: nn.Module) -> None:
    """Check that the Trainer wrapped the model in DDP, and log it.

    Raises:
        RuntimeError: The model is not wrapped: each device would train alone.
    """
    kind, ranks = type(model).__name__, dist.get_world_size()
    if not isinstance(model, DistributedDataParallel):
        raise RuntimeError(f"the model is a {kind} on {ranks} devices, not wrapped in DDP")
    log.info("rank %d of %d: %s over %s", dist.get_rank(), ranks, kind, dist.get_backend())
