"""The devices of this machine, as torch sees them."""

from __future__ import annotations

import os

import psutil
import torch

from sweeper.facts.machine.hardware import VISIBLE, Device, Devices, Visible, processor
from sweeper.units import GIB


def gpu(number: int) -> Device:
    """A GPU, by its number in this process."""
    properties = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    return Device(
        kind="cuda",
        name=properties.name,
        torch=torch.__version__,
        free_gib=free / GIB,
        total_gib=total / GIB,
        capability=float(f"{properties.major}.{properties.minor}"),
    )


def training_device() -> Device:
    """The device on which this process trains."""
    if torch.cuda.is_available():
        return gpu(torch.cuda.current_device())
    memory = psutil.virtual_memory()
    return Device(
        kind="cpu",
        name=processor().name,
        torch=torch.__version__,
        free_gib=memory.available / GIB,
        total_gib=memory.total / GIB,
    )


def seen(request: Visible) -> Devices:
    """The GPUs that this process sees. It must not have used a GPU before."""
    if request.chosen:
        os.environ[VISIBLE] = ",".join(request.chosen)
    return Devices(gpus=tuple(map(gpu, range(torch.cuda.device_count()))))
