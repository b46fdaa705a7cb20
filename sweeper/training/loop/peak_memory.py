"""Peak memory of a trial: of the CUDA allocator on a GPU, of the process on a CPU.

On a GPU it is what torch had allocated at most, the model included. On a CPU it is by how much
the process's resident set grew once the model stood, plus the model itself; memory that the
allocator kept from an earlier trial is trimmed first.
"""

from __future__ import annotations

import re
from pathlib import Path

import psutil
import torch
from torch import nn

from sweeper.training.loop.out_of_memory import release_memory
from sweeper.units import GIB

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def bytes_of(model: nn.Module) -> int:
    """Bytes of a model's weights and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class PeakMemory:
    """Starts counting when made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        release_memory()
        self._resettable = _reset_peak()
        self._start = psutil.Process().memory_info().rss

    def gib(self, model_bytes: int) -> float:
        """The peak so far.

        Args:
            model_bytes: The model's, which was there before the count began.
        """
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device) / GIB)
        peak = _peak() if self._resettable else psutil.Process().memory_info().rss
        return float(max(0, peak - self._start) + model_bytes) / GIB


def _reset_peak() -> bool:
    """Let Linux count the peak resident set anew; False where it cannot."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak() -> int:
    found = _PEAK.search(_STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024
