"""Stand-ins for GPU kernels that meta tensors cannot run, and the modes that use them.

SDPA on the meta device falls back to products that write the whole score matrix, which no fused
kernel does; 4-bit layers need packed weights on a device. Autocast does not support the meta
device, so its rules for CUDA are applied here: products run in bfloat16, operations that need the
range of float32 in float32, and trained weights are cast once per forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

_GROUPED: frozenset[Any] = frozenset({F.grouped_mm, torch._grouped_mm})
# Functions that autocast runs in bfloat16 and in float32: those of torch.amp's lists for CUDA that
# language models call.
_BFLOAT16: frozenset[Any] = frozenset(
    {
        *(F.linear, F.scaled_dot_product_attention, F.conv1d),
        *_GROUPED,
        *(torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
        *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm),
        *(torch.Tensor.baddbmm, torch.addbmm),
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


class FusedAttention(torch.autograd.Function):
    """Allocates what FlashAttention-2 does: output, log-sum-exp, gradients and temporaries."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, heads, tokens, _ = query.shape
        # (batch, tokens, heads, width) in memory, as the kernels write it
        out = query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)
        log_sum_exp = query.new_empty(batch, heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, log_sum_exp)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _out, log_sum_exp = ctx.saved_tensors
        # The kernel's sum of output x gradient per row, and its float32 accumulator.
        temporaries = [torch.empty_like(log_sum_exp), torch.empty_like(query, dtype=torch.float32)]
        if key.shape[1] != query.shape[1]:  # one gradient for each query head, summed afterwards
            shared = (key, value)
            temporaries += [query.new_empty(*query.shape[:2], *x.shape[2:]) for x in shared]
        result = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del temporaries
        return result


class FusedDropout(torch.autograd.Function):
    """Dropout with a boolean mask, as on CUDA. On meta, the mask has the dtype of the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(torch.empty_like(x, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.empty_like(gradients[0])


class GroupedProduct(torch.autograd.Function):
    """Products of groups of rows with one expert's weight each, in any dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return x.new_empty(x.shape[0], weight.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        _x, weight = ctx.saved_tensors
        trained = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        return gradients[0].new_empty(gradients[0].shape[0], weight.shape[-2]), trained


class FourBitProduct(torch.autograd.Function):
    """A product with a 4-bit weight, which is unpacked temporarily in each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, rows: int, columns: int) -> Tensor:
        ctx.shape = (rows, columns)
        return linear(x, x.new_empty(ctx.shape))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] @ gradients[0].new_empty(ctx.shape), None, None, None


class FourBitLinear(nn.Linear):
    """Replaces a linear layer by one with ``bytes_per_weight`` bytes per weight."""

    def __init__(self, source: nn.Linear, bytes_per_weight: float) -> None:
        super().__init__(source.in_features, source.out_features, bias=False, device="meta")
        size = int(source.weight.numel() * bytes_per_weight)
        packed = torch.empty(size, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = source.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = FourBitProduct.apply(x, self.weight, self.out_features, self.in_features)
        return out if self.bias is None else out + self.bias


class InPlaceAdamW(torch.optim.Optimizer):
    """Allocates the two states of an AdamW that works in place, as fused and 8-bit kernels do.

    Args:
        unquantized: Parameters with states in their own dtype; the states of others have 8 bits,
            and a scale for every 256 numbers.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], unquantized: Iterable[nn.Parameter]
    ) -> None:
        super().__init__(parameters, {})
        self._unquantized_ids = {id(weight) for weight in unquantized}

    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and not self.state[weight]:
                    self.state[weight] = {0: self._state(weight), 1: self._state(weight)}

    def _state(self, weight: Tensor) -> tuple[Tensor, ...]:
        if id(weight) in self._unquantized_ids:
            return (torch.empty_like(weight),)
        scales = weight.new_empty(-(-weight.numel() // 256), dtype=torch.float32)
        return torch.empty_like(weight, dtype=torch.uint8), scales


class Kernels(TorchFunctionMode):
    """A mode in which the stand-ins run; checkpointing enters it again to recompute layers."""

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
        if func is F.scaled_dot_product_attention and self._uses_fused_attention(**kwargs):
            query, key, value = (*args, *(kwargs.get(name) for name in ("key", "value")))[:3]
            return FusedAttention.apply(query, key, value)
        if func is F.dropout and self._uses_dropout(*args, **kwargs):
            return FusedDropout.apply(args[0])
        if func in _GROUPED:
            return GroupedProduct.apply(args[0], args[1])
        if func is torch.histc:  # counts tokens per expert; meta has no integer histogram
            return args[0].new_empty(kwargs.get("bins", 100), dtype=torch.int32)
        return func(*args, **kwargs)

    def _uses_fused_attention(self, dropout_p: float = 0.0, **_: Any) -> bool:
        """Whether a fused kernel runs. CPUs have none with dropout; the fallback works on meta."""
        return self._cuda or dropout_p == 0.0

    def _uses_dropout(
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

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._depth -= 1
        if self._depth == 0:
            self._casts.clear()

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        cast = self._to_bfloat16 if func in _BFLOAT16 else _to_float if func in _FLOAT32 else None
        if cast is not None:
            args = tuple(_cast_all(cast, value) for value in args)
            kwargs = {name: _cast_all(cast, value) for name, value in kwargs.items()}
        return super().call(func, args, kwargs)

    def _to_bfloat16(self, value: Tensor) -> Tensor:
        if value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if value not in self._casts:
            self._casts[value] = value.to(torch.bfloat16)
        return self._casts[value]


def _to_float(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.bfloat16 else value


def _cast_all(cast: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return cast(value)
    if isinstance(value, list | tuple):
        return type(value)(_cast_all(cast, part) for part in value)
    return value
