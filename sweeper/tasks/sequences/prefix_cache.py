"""Attention states of a common prefix of texts, computed once."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from sweeper.tasks.sequences.answer_logits import logits_at


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
