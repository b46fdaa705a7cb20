"""A base model with a linear head on its pooled token states: the model of a classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "cls", "last"]


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector a text from its token states.

    Args:
        states: ``(batch, tokens, width)``.
        mask: ``(batch, tokens)``, 1 on real tokens; padding may be on either side.
        pooling: ``mean`` over real tokens, ``cls`` the first real one, ``last`` the last real one.

    Returns:
        ``(batch, width)`` in float32.
    """
    states = states.float()
    if pooling == "mean":
        weights = mask.unsqueeze(-1).float()
        return (states * weights).sum(1) / weights.sum(1).clamp_min(1.0)
    places = torch.arange(mask.shape[1], device=mask.device)
    if pooling == "cls":
        index = (places + mask.shape[1] * (1 - mask.long())).argmin(1)
    else:
        index = (places * mask.long()).argmax(1)
    return states[torch.arange(len(states), device=states.device), index]


class Classifier(nn.Module):
    """Logits of the classes of a text.

    The head computes in float32 whatever the base's precision is: it is small and has large
    gradients at first.

    Args:
        base: Gives ``last_hidden_state``, as ``AutoModel`` does; may hold an adapter.
        pooling: The base model's own way to one vector.
        width: The base's ``hidden_size``.
        classes: How many.
    """

    def __init__(self, base: nn.Module, pooling: Pooling, width: int, classes: int) -> None:
        super().__init__()
        self.base = base
        self.pooling: Pooling = pooling
        self.head = nn.Linear(width, classes, device=next(base.parameters()).device)

    def features(self, inputs: Mapping[str, Any]) -> Tensor:
        """Pooled states ``(batch, width)``. Virtual tokens in front of the text are not pooled."""
        states = self.base(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        return pool(states[:, -mask.shape[1] :], mask, self.pooling)

    def forward(self, **inputs: Any) -> Tensor:
        features = self.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
        return logits
