"""Cards that are too small or broken, emulated on the CPU, and what sees each operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Dispatched(TorchDispatchMode):
    """Calls ``after`` with each operation, its arguments and its result."""

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.after(function, args, result)
        return result

    def after(self, function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        """Look at one operation."""
        raise NotImplementedError


class FakeCard(Dispatched):
    """Counts the bytes of tensors that live, and raises what CUDA does where they are too many.

    Args:
        limit: Bytes of the card.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self._most = limit, 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def _allocated(self) -> int:
        self._live = {at: one for at, one in self._live.items() if not one[0].expired()}
        return sum(size for _, size in self._live.values())

    def after(self, function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                if not storage.resizable():  # a file that is mapped lies in no card's memory
                    continue
                self._live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                self._most += storage.nbytes()
        if self._most > self.limit:
            self._most = allocated = self._allocated()
        if self._most > self.limit:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {allocated - self.limit} bytes. "
                f"GPU 0 has a total capacity of {self.limit} bytes"
            )


class BrokenCard(Dispatched):
    """Raises what CUDA does from a kernel's error on: each later call fails, too.

    Args:
        calls: Operations before the error.
    """

    TEXT = "CUDA error: an illegal memory access was encountered"

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def after(self, function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise torch.AcceleratorError(self.TEXT)
