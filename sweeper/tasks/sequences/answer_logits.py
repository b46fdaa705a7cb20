"""Logits at the positions that predict an answer alone, and states of a common prefix."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import DynamicCache

from sweeper.memory.setup import LOSS_ROWS


def answer_losses(model: nn.Module, inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
    """Negative log-likelihood of every answer token.

    The vocabulary is usually far wider than the network, so that logits of prompt tokens and
    padding would be most of the memory and much of the time; they are never computed.

    Args:
        model: A causal language model, adapted or not. Its states may be longer than the input at
            the front (virtual tokens).
        inputs: What the model is called with: ``input_ids`` and the like.
        labels: ``(batch, tokens)``; -100 where nothing is to be predicted.

    Returns:
        ``(answer tokens,)`` nats in float32, row by row.
    """
    layer = _output_layer(model)
    if layer is None or not _in_parts(layer):
        rows, targets = answer_rows(model, inputs, labels)
        return cross_entropy(rows.float(), targets, reduction="none")
    seen: list[Tensor] = []
    places, targets = _predicting(labels)
    logits = logits_at(model, {"use_cache": False, **inputs}, places, seen).logits
    (states,) = seen
    if layer not in _PLAIN and len(states):
        with torch.no_grad():
            _PLAIN[layer] = torch.equal(layer(states[:1]), logits)
        if not _PLAIN[layer]:
            return answer_losses(model, inputs, labels)
    losses: Tensor = _LossesInParts.apply(states, targets, layer)
    return losses


# Whether a model's logits are what its output layer gives, which some scale or cap.
_PLAIN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _in_parts(layer: nn.Module) -> bool:
    """Whether losses can be made from the output layer a part of the tokens at a time.

    A layer that trains would need its gradient twice, which is more than the logits it saves. In
    float16, gradients that are computed before the loss is scaled would become zero.
    """
    if type(layer) is not nn.Linear or not _PLAIN.get(layer, True):
        return False
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return False
    device = layer.weight.device.type
    half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    return not (torch.is_grad_enabled() and (layer.weight.requires_grad or half))


class _LossesInParts(torch.autograd.Function):
    """Cross-entropy of some tokens at a time, with the gradient of their states at once.

    The logits of all tokens are never there together (Hsu et al. 2024, arXiv:2410.10989, section
    3.2). ``torch.nn.functional.linear_cross_entropy`` does this too, but adds up losses in bfloat16
    where states have it: 6,880 in place of 6,896 nats for 600 tokens.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
        losses, gradients, trains = [], [], ctx.needs_input_grad[0]
        for part, labels in zip(states.split(LOSS_ROWS), targets.split(LOSS_ROWS), strict=True):
            part = part.detach().requires_grad_(trains)
            with torch.set_grad_enabled(trains):
                each = cross_entropy(layer(part).float(), labels, reduction="none")
                if trains:
                    gradients += torch.autograd.grad(each.sum(), part)
            losses.append(each.detach())
        ctx.save_for_backward(*gradients)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None]:
        gradient = torch.cat(ctx.saved_tensors)
        return gradient * above[0].unsqueeze(1).to(gradient.dtype), None, None


def answer_rows(
    model: nn.Module, inputs: Mapping[str, Any], labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits that predict the answer tokens, and these tokens.

    Returns:
        ``(answer tokens, vocabulary)`` in the model's dtype and ``(answer tokens,)``, row by row.
    """
    places, targets = _predicting(labels)
    return logits_at(model, {"use_cache": False, **inputs}, places).logits, targets


def _predicting(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The places of tokens whose successor is an answer token, and these successors.

    Once for a batch, since the host waits for the GPU to know how many there are.
    """
    wanted = labels.ne(-100)
    wanted[:, 0] = False
    successors = wanted.flatten().nonzero().squeeze(1)
    return successors - 1, labels.flatten().index_select(0, successors)


def divergence(base: Tensor, tuned: Tensor) -> Tensor:
    """KL(base || tuned), summed over tokens.

    The base's own words weigh most: it costs to become unlikely to say what the base would have
    said, as in learning without forgetting (Li and Hoiem 2016, arXiv:1606.09282).

    Args:
        base: Logits of the base, ``(tokens, vocabulary)``, without gradient.
        tuned: Logits of the tuned model, the same shape.

    Returns:
        Scalar, nats.
    """
    old, new = log_softmax(base.float(), dim=-1), log_softmax(tuned.float(), dim=-1)
    return kl_div(new, old, reduction="sum", log_target=True)


def logits_at(
    model: nn.Module, inputs: Mapping[str, Any], places: Tensor, seen: list[Tensor] | None = None
) -> Any:
    """The model's output with logits of chosen positions only.

    Args:
        places: ``(places,)`` of the tokens whose successor is to be predicted, among the tokens of
            all rows.
        seen: Gets the states at these tokens, ``(places, width)``. There are logits of the first
            one alone then.

    Returns:
        What the model gives, its ``logits`` of shape ``(places, vocabulary)``.
    """
    tokens = inputs["input_ids"].shape[1]
    with _only(model, places, tokens, seen):
        output = model(**inputs)
    logits = output.logits
    if seen:
        output.logits = logits.flatten(0, -2)
        return output
    # An output layer that is not called as a module has seen everything.
    if logits.dim() == 3 and logits.shape[:2] != (1, len(places)):
        logits = _selected(logits, places, tokens)
    output.logits = logits.reshape(-1, logits.shape[-1])
    return output


def by_row(losses: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss and count of answer tokens of each row.

    Returns:
        Both ``(batch,)``; a row without answer tokens has loss 0 and count 0.
    """
    wanted = labels[:, 1:].ne(-100)
    counts = wanted.sum(1)
    numbers = torch.arange(len(labels), device=labels.device)
    rows = torch.repeat_interleave(numbers, counts, output_size=len(losses))  # known to the host
    sums = torch.zeros(len(labels), dtype=torch.float64, device=losses.device)
    sums.index_add_(0, rows, losses.double())
    return sums / counts.clamp_min(1), counts


def _selected(states: Tensor, places: Tensor, tokens: int) -> Tensor:
    """``(1, places, width)`` from ``(batch, tokens or more, width)``, aligned at the end."""
    return states[:, -tokens:].flatten(0, 1).index_select(0, places).unsqueeze(0)


@contextmanager
def _only(
    model: nn.Module, places: Tensor, tokens: int, seen: list[Tensor] | None
) -> Iterator[None]:
    """Give the output layer only selected states, inside any wrapper of the model."""
    layer = _output_layer(model)
    if layer is None:
        yield
        return

    def select(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        states = _selected(arguments[0], places, tokens)
        if seen is not None:
            seen.append(states[0])
            states = states[:, :1]
        return (states, *arguments[1:])

    handle = layer.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _output_layer(model: nn.Module) -> nn.Module | None:
    inner: Any = model
    while isinstance(inner, nn.parallel.DistributedDataParallel):
        inner = inner.module
    layer = inner.get_output_embeddings()
    return layer if isinstance(layer, nn.Module) else None


def cacheable(model: Any) -> bool:
    """Whether states of a prefix can be kept: not for recurrent and other stateful networks."""
    takes_cache = "cache" in inspect.signature(model.forward).parameters
    return takes_cache and not getattr(model, "_is_stateful", False) and hasattr(model, "config")


class CachedPrefix:
    """The states of one prefix, ready to be continued by batches of texts.

    Args:
        model: A causal language model, in evaluation mode.
        ids: The prefix's tokens; at least one.
    """

    def __init__(self, model: nn.Module, ids: list[int]) -> None:
        self._model: Any = model
        self._cache = DynamicCache(config=self._model.config)
        self.length = len(ids)
        read = torch.tensor([ids], device=next(model.parameters()).device)
        none = read.new_zeros(0)
        inputs = {"input_ids": read, "use_cache": True, "cache": self._cache}
        with torch.no_grad():
            logits_at(model, inputs, none)

    def before(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The model's arguments to read this batch as the continuation of the prefix.

        Args:
            batch: ``input_ids`` and ``attention_mask``, each ``(batch, tokens)``, padded on the
                right.
        """
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(batch["input_ids"]))
        mask = batch["attention_mask"]
        seen = torch.ones(len(mask), self.length, dtype=mask.dtype, device=mask.device)
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": torch.cat([seen, mask], 1),
            "use_cache": True,
            "cache": cache,
        }
