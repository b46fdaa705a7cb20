"""Stand-ins for kernels that meta tensors cannot run as a GPU would.

SDPA on the meta device falls back to products that write the whole score matrix, which no fused
kernel does; 4-bit layers need packed weights on a device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class FusedAttention(torch.autograd.Function):
    """Allocates what FlashAttention-2 does: output and log-sum-exp; gradients in the backward."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, heads, tokens, _ = query.shape
        # (batch, tokens, heads, width) in memory, as the kernels write it
        out = query.new_empty(batch, tokens, heads, value.shape[-1]).transpose(1, 2)
        summed = query.new_empty(batch, heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, summed)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _out, summed = ctx.saved_tensors
        delta = torch.empty_like(summed)
        accumulator = torch.empty_like(query, dtype=torch.float32)
        if key.shape[1] != query.shape[1]:  # one gradient a query head, summed afterwards
            per_head = (
                query.new_empty(*query.shape[:2], *key.shape[2:]),
                query.new_empty(*query.shape[:2], *value.shape[2:]),
            )
        result = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del delta, accumulator
        if key.shape[1] != query.shape[1]:
            del per_head
        return result


class FusedDropout(torch.autograd.Function):
    """Dropout as on CUDA: a boolean mask. Meta tensors would make one of their own dtype."""

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
    """A product with a weight that is unpacked for the moment, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, rows: int, columns: int) -> Tensor:
        ctx.shape = (rows, columns)
        weight = x.new_empty(rows, columns)
        return linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        weight = gradients[0].new_empty(ctx.shape)
        return gradients[0] @ weight, None, None, None


class FourBitLinear(nn.Linear):
    """Takes the place of a linear layer whose weight is stored in so many bytes an element."""

    def __init__(self, source: nn.Linear, bytes_per_weight: float) -> None:
        super().__init__(source.in_features, source.out_features, bias=False, device="meta")
        size = int(source.weight.numel() * bytes_per_weight)
        packed = torch.empty(size, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = source.bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = FourBitProduct.apply(x, self.weight, self.out_features, self.in_features)
        return out if self.bias is None else out + self.bias


class InPlace(torch.optim.Optimizer):
    """Allocates what AdamW keeps that works in place, as fused and 8-bit kernels do: two states.

    Args:
        wide: Those whose states are of their own dtype; of the others they have eight bits, with
            scales for 256 numbers each.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], wide: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self._wide = {id(weight) for weight in wide}

    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and not self.state[weight]:
                    self.state[weight] = {0: self._state(weight), 1: self._state(weight)}

    def _state(self, weight: Tensor) -> tuple[Tensor, ...]:
        if id(weight) in self._wide:
            return (torch.empty_like(weight),)
        scales = weight.new_empty(-(-weight.numel() // 256), dtype=torch.float32)
        return torch.empty_like(weight, dtype=torch.uint8), scales
