"""Function modes that stand between model code and torch: autocast, and the kernel stand-ins.

Autocast has no rules for the meta device, so its rules for CUDA are applied here: products in
bfloat16, what needs range in float32, weights that train cast once a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sweeper.training.dryrun.kernels import FusedAttention, FusedDropout, GroupedProduct

_GROUPED: frozenset[Any] = frozenset({F.grouped_mm, torch._grouped_mm})
# torch.amp's lists for CUDA, as far as language models call them.
_LOWER: frozenset[Any] = frozenset(
    {
        *(F.linear, F.scaled_dot_product_attention, F.conv1d),
        *_GROUPED,
        *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
        *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm),
        torch.Tensor.baddbmm,
        torch.addbmm,
    }
)
_FLOAT32: frozenset[Any] = frozenset(
    {
        *(F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss, F.layer_norm, F.mse_loss),
        *(torch.softmax, torch.log_softmax, torch.layer_norm, torch.pow, torch.rsqrt),
        *(torch.sum, torch.cumsum, torch.norm, torch.exp, torch.log, torch.prod),
        *(torch.Tensor.softmax, torch.Tensor.pow, torch.Tensor.__pow__, torch.Tensor.rsqrt),
        *(torch.Tensor.sum, torch.Tensor.cumsum, torch.Tensor.exp, torch.Tensor.norm),
    }
)


class Kernels(TorchFunctionMode):
    """Runs model code with the stand-ins; re-entered by checkpointing for its second forward."""

    def __init__(self, cuda: bool) -> None:
        super().__init__()
        self._cuda = cuda

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.call(func, args, dict(kwargs or {}))

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the function or of its stand-in."""
        if func is F.scaled_dot_product_attention and self._fused(**kwargs):
            query, key, value = (*args, *(kwargs.get(name) for name in ("key", "value")))[:3]
            return FusedAttention.apply(query, key, value)
        if func is F.dropout and self._drops(*args, **kwargs):
            return FusedDropout.apply(args[0])
        if func in _GROUPED:
            return GroupedProduct.apply(args[0], args[1])
        if func is torch.histc:  # counts tokens an expert; meta has no integer histogram
            return args[0].new_empty(kwargs.get("bins", 100), dtype=torch.int32)
        return func(*args, **kwargs)

    def _fused(self, dropout_p: float = 0.0, **_: Any) -> bool:
        """The kernel for CPUs has no dropout; what runs instead, meta tensors can follow."""
        return self._cuda or dropout_p == 0.0

    def _drops(
        self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> bool:
        return self._cuda and training and p > 0


class MixedPrecision(Kernels):
    """Autocast to bfloat16."""

    def __init__(self, cuda: bool) -> None:
        super().__init__(cuda)
        self._depth = 0
        self._casts: dict[Tensor, Tensor] = {}

    def __enter__(self) -> MixedPrecision:
        self._depth += 1
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._depth -= 1
        if self._depth == 0:
            self._casts.clear()

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        cast = self._lower if func in _LOWER else _widen if func in _FLOAT32 else None
        if cast is not None:
            args = tuple(_each(cast, value) for value in args)
            kwargs = {name: _each(cast, value) for name, value in kwargs.items()}
        return super().call(func, args, kwargs)

    def _lower(self, value: Tensor) -> Tensor:
        if value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if value not in self._casts:
            self._casts[value] = value.to(torch.bfloat16)
        return self._casts[value]


def _widen(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.bfloat16 else value


def _each(cast: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return cast(value)
    if isinstance(value, list | tuple):
        return type(value)(_each(cast, part) for part in value)
    return value
