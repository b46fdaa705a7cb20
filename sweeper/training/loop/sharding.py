"""How one model trains on several devices: copies of it (DDP) or its parts (FSDP).

The FSDP part has not run on GPUs yet: it is written from the documentation of torch and
transformers, and refused elsewhere.
"""

from __future__ import annotations

import logging
import os
from typing import Any, TypeVar

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

log = logging.getLogger(__name__)

T = TypeVar("T")


def ranks_in_all() -> int:
    """How many processes train this trial, as torch.distributed reads it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank_here() -> int:
    """Which of them this process is."""
    return int(os.environ.get("RANK", "0"))


def gathered(value: T) -> list[T]:
    """The values of all ranks, in order. All of them must call it at the same point."""
    if ranks_in_all() == 1:
        return [value]
    each: list[Any] = [None] * ranks_in_all()
    dist.all_gather_object(each, value)
    return each


def check_wrapped(model: nn.Module, *, sharded: bool) -> None:
    """Check that the Trainer wrapped the model as requested, and log it.

    Raises:
        RuntimeError: It did not: the devices would train apart, or each hold all of the model.
    """
    wanted = FSDPModule if sharded else DistributedDataParallel
    if not isinstance(model, wanted):
        raise RuntimeError(
            f"the model is a {type(model).__name__} on {dist.get_world_size()} devices, "
            f"not a {wanted.__name__}"
        )
    log.info(
        "rank %d of %d: %s over %s",
        dist.get_rank(),
        dist.get_world_size(),
        wanted.__name__,
        dist.get_backend(),
    )


def fsdp_arguments(layers: list[str] | None) -> dict[str, Any]:
    """What ``TrainingArguments`` takes to spread the weights with FSDP, version 2.

    Args:
        layers: Classes of the layers that are gathered one by one; None without FSDP.
    """
    if layers is None:
        return {}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": layers,
            "cpu_ram_efficient_loading": False,
        },
    }


def layer_classes(model: nn.Module) -> list[str]:
    """Names of the classes that must stay on one device, as the base model declares them."""
    found: set[str] = set()
    for module in model.modules():
        found |= set(getattr(module, "_no_split_modules", None) or ())
    present = {type(module).__name__ for module in model.modules()}
    return sorted(found & present)


def gather_trained(model: nn.Module) -> None:
    """Give every rank whole tensors, in main memory, of the trained weights that are spread.

    All ranks must call it. Without FSDP it does nothing.
    """
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.requires_grad and isinstance(weight, DTensor):
                whole = weight.full_tensor().detach().cpu()
                setattr(module, name, nn.Parameter(whole, requires_grad=True))
