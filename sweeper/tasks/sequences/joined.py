"""Texts joined to one sequence without padding, where each attends to its own tokens alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from warnings import catch_warnings

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DataCollatorWithFlattening,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BY_TEXT = "sdpa_by_text"
"""The attention of joined texts where no kernel for several lengths is installed."""
INPUTS = (
    *("input_ids", "attention_mask", "position_ids"),
    *("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
)
"""What a model is given of a padded batch, or of joined texts."""
_FLATTEN = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
_PROBE = (range(1, 9), range(9, 17), range(17, 21))
# A model that is not the same for each text differs by far more than rounding does.
_ROUNDING = 1e-3


def joined(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of one row with all texts, one after the other.

    Positions begin anew with each text, and its first token is no label. The ends of the texts
    have the names that transformers' FlashAttention takes them by.

    Args:
        features: With ``input_ids`` and ``labels``.
    """
    batch: dict[str, Any] = dict(_FLATTEN(features))
    # All ones: given no mask, transformers would make one of tokens x tokens.
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


def reads_apart(model: nn.Module) -> bool:
    """Whether what the model says to a joined text does not depend on the text before it.

    False for models whose layers do not pass on where texts end (such as those with ALiBi or state
    spaces), and for prompts, which are put before the first text only.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    device = next(model.parameters()).device
    training = [module for module in model.modules() if module.training]
    said = []
    try:
        for module in training:  # not eval(), for which quantised layers repack their weights
            module.training = False
        with torch.no_grad(), catch_warnings(action="ignore"):
            for before in _PROBE[:2]:
                texts = [{"input_ids": [*ids], "labels": [*ids]} for ids in (before, _PROBE[2])]
                batch = joined(texts)
                moved = {n: v.to(device) for n, v in batch.items() if isinstance(v, Tensor)}
                batch |= moved
                logits = model(**{n: batch[n] for n in INPUTS}, use_cache=False).logits
                said.append(logits[0, -len(_PROBE[2]) :].float())
    except TypeError:  # its forward() takes no ends of texts
        return False
    finally:
        for module in training:
            module.training = True
    return bool((said[0] - said[1]).abs().max() <= _ROUNDING * said[0].std())


def _by_text(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """SDPA, once for each of the joined texts: none of them needs a mask.

    Args:
        query: ``(batch, heads, tokens, width)``; ``key`` and ``value`` likewise.
        attention_mask: ``(batch, 1, tokens, tokens)``; None where all is causal.
        cu_seq_lens_q: Where texts end, from 0; None in a padded batch.
    """
    if cu_seq_lens_q is None:
        usual: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return usual
    parts = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        of_text = [states[:, :, start:end] for states in (query, key, value)]
        mask = None if attention_mask is None else attention_mask[..., start:end, start:end]
        parts.append(sdpa_attention_forward(module, *of_text, mask, **options)[0])
    return torch.cat(parts, 1), None


AttentionInterface.register(BY_TEXT, _by_text)
AttentionMaskInterface.register(BY_TEXT, sdpa_mask)
