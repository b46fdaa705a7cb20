"""The devices of this machine as torch sees them, and the speed of its processor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median

import psutil
import torch
from torch.nn.functional import linear

from sweeper.artifact import Record
from sweeper.facts.machine.hardware import VISIBLE, Device, Devices, Visible, processor
from sweeper.facts.machine.measured import Calibration, store_calibration, versions
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


def visible_gpus(request: Visible) -> Devices:
    """The GPUs that this process sees. It must not have used a GPU before."""
    if request.chosen:
        os.environ[VISIBLE] = ",".join(request.chosen)
    return Devices(gpus=tuple(map(gpu, range(torch.cuda.device_count()))))


# (Rows, inputs, outputs) of matrix products in MiniLM and SmolLM2-135M at a few hundred tokens.
SHAPES = ((512, 384, 384), (512, 384, 1536), (512, 1536, 384), (512, 576, 1536))
# Timed runs of each measurement.
_REPEATS = 7
# Elements of a tensor that exceeds the caches of a server processor.
_FLOATS = 2**25


def fastest(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """CPU seconds of this thread in the fastest of several runs.

    Measured with 23 busy processes on two cores: by CPU time, matrix products were 7% slower than
    on the idle machine and the bandwidth 1.7 times as high; by wall-clock time both were a tenth.
    """
    work()
    times = []
    for _ in range(repeats):
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return min(times)


def product_gflops() -> float:
    """Billions of float32 operations per second in matrix products: the median over the shapes."""
    rates = []
    for rows, inputs, outputs in SHAPES:
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        seconds = fastest(lambda x=x, weight=weight: linear(x, weight))  # type: ignore[misc]
        rates.append(2 * rows * inputs * outputs / seconds / 1e9)
    return median(rates)


def bandwidth_gb_per_second() -> float:
    """Billions of bytes read and written per second, by a sum that exceeds all caches."""
    x = torch.randn(_FLOATS)
    out = torch.empty_like(x)
    seconds = fastest(lambda: torch.add(x, 1.0, out=out))
    return float(2 * x.numel() * x.element_size() / seconds / 1e9)


def calibrate() -> Calibration:
    """Measure this machine with torch's current number of threads."""
    return Calibration(
        processor=processor().name,
        cores=torch.get_num_threads(),
        versions=versions(),
        fp32_gflops=round(product_gflops(), 1),
        bandwidth_gb_per_second=round(bandwidth_gb_per_second(), 2),
        when=datetime.now(UTC).date().isoformat(),
    )


def answer(_request: Record) -> None:
    """Measure this machine, and store the result in the cache folder."""
    store_calibration(calibrate())
