"""Memory of a device: its peak in a trial, and retries with smaller batches if it runs out.

A retry has half the micro-batch, the same effective batch, and clean weights: the same result as a
trial planned with the smaller micro-batch.

The peak on a GPU is the most memory that torch had allocated, model included. On a CPU it is the
growth of the process's resident set after the model was loaded, plus the model; memory that the
allocator kept from an earlier trial is trimmed first.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import TypeVar

import psutil
import torch
from torch import nn

from sweeper.errors import TooLarge
from sweeper.facts.record import TrainingSetup
from sweeper.units import GIB

Result = TypeVar("Result")

# Texts of errors that mean that memory ran out, in lower case.
_OOM_TEXTS = (
    *("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc"),
    # cuBLAS and cuDNN allocate without torch's allocator; cuBLAS when it is initialised.
    *("cublas_status_alloc_failed", "cublas_status_not_initialized", "cudnn_status_alloc_failed"),
)
_REQUESTED_AMOUNT = re.compile(r"allocate (?P<amount>[\d.]+) ?(?P<unit>GiB|MiB|KiB|bytes)")
_UNITS = {"GiB": GIB, "MiB": 1024**2, "KiB": 1024, "bytes": 1}

# Linux's files with this process's peak resident set, and to reset that.
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def smaller(setup: TrainingSetup, *, evaluation: bool) -> TrainingSetup | None:
    """The set-up with the same effective batch and less memory; None if there is none.

    Args:
        evaluation: Whether to halve the evaluation batch, if it is more than one item. Otherwise
            the micro-batch becomes its half, or the next lower divisor of the batch.
    """
    if evaluation and setup.evaluation_batch > 1:
        return setup.model_copy(update={"evaluation_batch": setup.evaluation_batch // 2})
    rows = setup.micro_batch * setup.gradient_accumulation_steps
    micro = max((n for n in range(1, setup.micro_batch // 2 + 1) if rows % n == 0), default=None)
    batches = {"micro_batch": micro, "gradient_accumulation_steps": rows // (micro or 1)}
    return setup.model_copy(update=batches) if micro else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(t in str(error).lower() for t in _OOM_TEXTS)


def release_memory() -> None:
    """Give freed memory back to the device, and on a CPU to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _requested_gib(error: BaseException) -> float | None:
    match = _REQUESTED_AMOUNT.search(str(error))
    return float(match["amount"]) * _UNITS[match["unit"]] / GIB if match else None


def shortage(error: BaseException, *, loading: bool = False) -> TooLarge:
    """A ``TooLarge`` for an out-of-memory error, with the needed and the available memory."""
    requested = _requested_gib(error)
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()  # bytes, like the others
        available, used = free + torch.cuda.memory_reserved(), torch.cuda.max_memory_allocated()
    else:
        available, used = psutil.virtual_memory().total, psutil.Process().memory_info().rss
    detail = (str(error).strip() or type(error).__name__).splitlines()[0]
    needed = None if requested is None else requested + used / GIB
    return TooLarge(detail, needed, available / GIB, loading=loading)


@contextmanager
def loading_a_model() -> Iterator[None]:
    """A context in which lack of memory is a failure of loading, which no smaller batch avoids.

    Raises:
        TooLarge: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        ran_out = [cause for cause in _causes(error) if is_out_of_memory(cause)]
        if not ran_out:
            raise
        raise shortage(ran_out[-1], loading=True) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error of loading, and the errors that led to it.

    If quantising weights fails, transformers raises an error that does not name the causes; their
    texts are in a local variable.
    """
    while error is not None:
        yield error
        for frame, _ in walk_tb(error.__traceback__):
            collected = getattr(frame.f_locals.get("loading_info"), "conversion_errors", {})
            lines = (line for text in collected.values() for line in text.splitlines())
            yield from map(RuntimeError, lines)
        error = error.__context__


def in_batches_that_fit(
    setup: TrainingSetup, attempt: Callable[[TrainingSetup], Result], evaluating: Callable[[], bool]
) -> Result:
    """Call ``attempt`` with ever smaller batches until one fits.

    Args:
        setup: The set-up of the first call.
        attempt: Training, which frees its memory when it raises. Every call but the first
            starts from clean weights.
        evaluating: Whether the last call ended in evaluation, whose batch is then halved.

    Raises:
        TooLarge: One example does not fit, or loading the model fails.
    """
    while True:
        try:
            return attempt(setup)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = shortage(error)
        # Outside of the handler: its error would keep the frames, and so the tensors, alive.
        release_memory()
        reduced = smaller(setup, evaluation=evaluating())
        if reduced is None:
            raise failure
        setup = reduced


def bytes_of(model: nn.Module) -> int:
    """Bytes of a model's weights and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class PeakMemory:
    """The peak memory of a device since this object was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        release_memory()
        self._resettable = _reset_peak()
        self._start = psutil.Process().memory_info().rss

    def gib(self, model_bytes: int) -> float:
        """The peak so far, in GiB.

        Args:
            model_bytes: Bytes of the model, which was loaded before the count began.
        """
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device) / GIB)
        peak = _peak_bytes() if self._resettable else psutil.Process().memory_info().rss
        return float(max(0, peak - self._start) + model_bytes) / GIB


def _reset_peak() -> bool:
    """Reset Linux's peak of the resident set; False if that is impossible."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    match = _PEAK.search(_STATUS.read_text())
    assert match is not None
    return int(match[1]) * 1024
