"""Counts the bytes of all live storages on the meta device, by kind, and remembers the peak.

Knows nothing of models: it sees every operation through a dispatch mode.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

#: CUDA's caching allocator rounds every block up to this many bytes.
BLOCK_BYTES = 512


class StorageTracker(TorchDispatchMode):
    """Live bytes while the mode is on. ``kind`` labels what is allocated from now on."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.live: Counter[str] = Counter()
        self.peak_bytes = 0
        self.peak_kind = kind
        self.peak_parts: dict[str, int] = {}
        self._held: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_iter(result):
            self.watch(leaf)
        return result

    def watch(self, value: object) -> None:
        """Count a tensor's storage until it is freed; views of a storage count once."""
        if not isinstance(value, Tensor) or value.device.type != "meta":
            return
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size = -(-storage.nbytes() // BLOCK_BYTES) * BLOCK_BYTES
        self._held[key] = (self.kind, size)
        self.live[self.kind] += size
        weakref.finalize(storage, self._free, key)
        total = self.total
        if total > self.peak_bytes:
            self.peak_bytes, self.peak_kind = total, self.kind
            self.peak_parts = dict(self.live)

    def relabel(self, tensor: Tensor, kind: str) -> None:
        """Count a storage that is already watched as another kind."""
        key = tensor.untyped_storage()._cdata
        old, size = self._held[key]
        self._held[key] = (kind, size)
        self.live[old] -= size
        self.live[kind] += size

    def _free(self, key: int) -> None:
        kind, size = self._held.pop(key)
        self.live[kind] -= size

    @property
    def total(self) -> int:
        """Live bytes of all kinds."""
        return sum(self.live.values())


def gradients_labelled(tracker: StorageTracker, parameters: Iterable[Tensor]) -> None:
    """Have every gradient counted as such as soon as it is accumulated."""

    def label(parameter: Tensor) -> None:
        if parameter.grad is not None:
            tracker.relabel(parameter.grad, "gradients")

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(label)


def meta(shape: tuple[int, ...], dtype: torch.dtype = torch.long) -> Tensor:
    """A tensor of this shape without data."""
    return torch.empty(shape, dtype=dtype, device="meta")
