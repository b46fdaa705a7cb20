"""Logits at the positions that predict answer tokens only, and the cache of a common prefix."""

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

    Logits of prompt tokens and padding are never computed: they would take most of the memory and
    much of the time, as the vocabulary is usually far wider than the network.

    Args:
        model: A causal language model, adapted or not. It may put virtual tokens before the input.
        inputs: The model's arguments: ``input_ids`` and the like.
        labels: ``(batch, tokens)``; -100 where nothing is to be predicted.

    Returns:
        ``(answer tokens,)`` nats in float32, row by row.
    """
    layer = _output_layer(model)
    if layer is None or not _can_split_losses(layer):
        logits, targets = logits_and_targets(model, inputs, labels)
        return cross_entropy(logits.float(), targets, reduction="none")
    layer_inputs: list[Tensor] = []
    positions, targets = _predicting_positions(labels)
    logits = logits_at(model, {"use_cache": False, **inputs}, positions, layer_inputs).logits
    (states,) = layer_inputs
    if layer not in _OUTPUTS_ARE_LOGITS and len(states):
        with torch.no_grad():
            _OUTPUTS_ARE_LOGITS[layer] = torch.equal(layer(states[:1]), logits)
        if not _OUTPUTS_ARE_LOGITS[layer]:
            return answer_losses(model, inputs, labels)
    losses: Tensor = _LossesInParts.apply(states, targets, layer)
    return losses


# Whether the outputs of an output layer are the logits; some models scale or cap them.
_OUTPUTS_ARE_LOGITS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _can_split_losses(layer: nn.Module) -> bool:
    """Whether the losses can be computed from the output layer for some tokens at a time.

    False for a trained output layer: its gradient would be held twice, which takes more memory
    than the logits. False in float16: gradients of an unscaled loss would become zero.
    """
    if type(layer) is not nn.Linear or not _OUTPUTS_ARE_LOGITS.get(layer, True):
        return False
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return False
    device = layer.weight.device.type
    is_float16 = (
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    )
    return not (torch.is_grad_enabled() and (layer.weight.requires_grad or is_float16))


class _LossesInParts(torch.autograd.Function):
    """Cross-entropy for ``LOSS_ROWS`` tokens at a time; the forward pass also computes gradients.

    The logits of all tokens are never in memory together (Hsu et al. 2024, arXiv:2410.10989,
    section 3.2). ``torch.nn.functional.linear_cross_entropy`` does the same, but with bfloat16
    states it sums losses in bfloat16: 6,880 instead of 6,896 nats for 600 tokens.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
        losses, gradients, trains = [], [], ctx.needs_input_grad[0]
        for part, labels in zip(states.split(LOSS_ROWS), targets.split(LOSS_ROWS), strict=True):
            part = part.detach().requires_grad_(trains)
            with torch.set_grad_enabled(trains):
                losses_of_part = cross_entropy(layer(part).float(), labels, reduction="none")
                if trains:
                    gradients += torch.autograd.grad(losses_of_part.sum(), part)
            losses.append(losses_of_part.detach())
        ctx.save_for_backward(*gradients)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        gradient = torch.cat(ctx.saved_tensors)
        return gradient * upstream[0].unsqueeze(1).to(gradient.dtype), None, None


def logits_and_targets(
    model: nn.Module, inputs: Mapping[str, Any], labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits that predict the answer tokens, and these tokens.

    Returns:
        ``(answer tokens, vocabulary)`` in the model's dtype and ``(answer tokens,)``, row by row.
    """
    positions, targets = _predicting_positions(labels)
    return logits_at(model, {"use_cache": False, **inputs}, positions).logits, targets


def _predicting_positions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The positions of tokens before an answer token, and these answer tokens.

    Called once for a batch, since the host waits for the GPU to count them.
    """
    is_answer = labels.ne(-100)
    is_answer[:, 0] = False  # nothing precedes the first token
    successors = is_answer.flatten().nonzero().squeeze(1)
    return successors - 1, labels.flatten().index_select(0, successors)


def divergence(base: Tensor, tuned: Tensor) -> Tensor:
    """KL(base || tuned), summed over tokens.

    Tokens that the base finds likely have the largest weights, as in learning without forgetting
    (Li and Hoiem 2016, arXiv:1606.09282).

    Args:
        base: Logits of the base, ``(tokens, vocabulary)``, without gradient.
        tuned: Logits of the tuned model, the same shape.

    Returns:
        Scalar, nats.
    """
    base_logs, tuned_logs = log_softmax(base.float(), dim=-1), log_softmax(tuned.float(), dim=-1)
    return kl_div(tuned_logs, base_logs, reduction="sum", log_target=True)


def logits_at(
    model: nn.Module,
    inputs: Mapping[str, Any],
    positions: Tensor,
    layer_inputs: list[Tensor] | None = None,
) -> Any:
    """The model's output with logits at ``positions`` only.

    Args:
        positions: ``(positions,)`` indices of the tokens whose successor is predicted, among the
            tokens of all rows.
        layer_inputs: List to which the output layer's inputs at these tokens are appended,
            ``(positions, width)``. Logits are then computed for the first token only.

    Returns:
        The model's output, with ``logits`` of shape ``(positions, vocabulary)``.
    """
    tokens = inputs["input_ids"].shape[1]
    with _logits_only_at(model, positions, tokens, layer_inputs):
        output = model(**inputs)
    logits = output.logits
    if layer_inputs:
        output.logits = logits.flatten(0, -2)
        return output
    # An output layer that is not called as a module has processed all positions.
    if logits.dim() == 3 and logits.shape[:2] != (1, len(positions)):
        logits = _states_at(logits, positions, tokens)
    output.logits = logits.reshape(-1, logits.shape[-1])
    return output


def row_means(losses: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss and number of answer tokens of each row.

    Returns:
        Both ``(batch,)``; a row without answer tokens has loss 0 and count 0.
    """
    is_answer = labels[:, 1:].ne(-100)
    counts = is_answer.sum(1)
    numbers = torch.arange(len(labels), device=labels.device)
    # With its size given, the host does not wait for the GPU.
    rows = torch.repeat_interleave(numbers, counts, output_size=len(losses))
    sums = torch.zeros(len(labels), dtype=torch.float64, device=losses.device)
    sums.index_add_(0, rows, losses.double())
    return sums / counts.clamp_min(1), counts


def _states_at(states: Tensor, positions: Tensor, tokens: int) -> Tensor:
    """``(1, positions, width)`` from ``(batch, virtual tokens and tokens, width)``."""
    return states[:, -tokens:].flatten(0, 1).index_select(0, positions).unsqueeze(0)


@contextmanager
def _logits_only_at(
    model: nn.Module, positions: Tensor, tokens: int, layer_inputs: list[Tensor] | None
) -> Iterator[None]:
    """A context in which the output layer gets only the states at ``positions``."""
    layer = _output_layer(model)
    if layer is None:
        yield
        return

    def select(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        states = _states_at(arguments[0], positions, tokens)
        if layer_inputs is not None:
            layer_inputs.append(states[0])
            states = states[:, :1]
        return (states, *arguments[1:])

    handle = layer.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _output_layer(model: nn.Module) -> nn.Module | None:
    module: Any = model
    while isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module
    layer = module.get_output_embeddings()
    return layer if isinstance(layer, nn.Module) else None


def cacheable(model: Any) -> bool:
    """Whether keys and values of a prefix can be cached: not for recurrent or stateful networks."""
    takes_cache = "cache" in inspect.signature(model.forward).parameters
    return takes_cache and not getattr(model, "_is_stateful", False) and hasattr(model, "config")


class CachedPrefix:
    """The keys and values of a prefix, for batches of texts that continue it.

    Args:
        model: A causal language model, in evaluation mode.
        ids: The prefix's tokens; at least one.
    """

    def __init__(self, model: nn.Module, ids: list[int]) -> None:
        self._model: Any = model
        self._cache = DynamicCache(config=self._model.config)
        self.length = len(ids)
        input_ids = torch.tensor([ids], device=next(model.parameters()).device)
        no_positions = input_ids.new_zeros(0)
        inputs = {"input_ids": input_ids, "use_cache": True, "cache": self._cache}
        with torch.no_grad():
            logits_at(model, inputs, no_positions)

    def continued_by(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """The model's arguments for a batch that continues the prefix.

        Args:
            batch: ``input_ids`` and ``attention_mask``, each ``(batch, tokens)``, padded on the
                right.
        """
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(len(batch["input_ids"]))
        mask = batch["attention_mask"]
        prefix_mask = torch.ones(len(mask), self.length, dtype=mask.dtype, device=mask.device)
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": torch.cat([prefix_mask, mask], 1),
            "use_cache": True,
            "cache": cache,
        }
