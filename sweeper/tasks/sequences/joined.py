"""Texts joined to one sequence without padding, where each attends to its own tokens alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from itertools import pairwise
from typing import Any
from warnings import catch_warnings

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface, DataCollatorWithFlattening
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None

BY_TEXT = "sdpa_by_text"
"""The attention of joined texts without flash-attn."""
_KERNEL: Callable[..., Tensor] | None = (
    varlen_attn if varlen_attn and "enable_gqa" in signature(varlen_attn).parameters else None
)
"""Torch's own FlashAttention for texts of several lengths."""
_AMPERE, _WIDEST_HEAD = (8, 0), 256
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
    outputs = []
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
                outputs.append(logits[0, -len(_PROBE[2]) :].float())
    except TypeError:  # its forward() takes no ends of texts
        return False
    finally:
        for module in training:
            module.training = True
    return bool((outputs[0] - outputs[1]).abs().max() <= _ROUNDING * outputs[0].std())


def _by_text(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each of the joined texts: by one kernel, or by SDPA once for each text.

    None of them needs a mask.

    Args:
        query: ``(batch, heads, tokens, width)``; ``key`` and ``value`` likewise.
        attention_mask: ``(batch, 1, tokens, tokens)``; None where all is causal.
        cu_seq_lens_q: Where texts end, from 0; None in a padded batch.
        options: ``scaling``, ``dropout`` and ``max_length_q`` among others.
    """
    if cu_seq_lens_q is None:
        usual: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return usual
    if attention_mask is None and not options.get("dropout") and has_kernel(query):
        return _in_one(query, key, value, cu_seq_lens_q, **options), None
    parts = []
    if cu_seq_lens_q not in _ENDS:
        _ENDS[cu_seq_lens_q] = cu_seq_lens_q.tolist()
    for start, end in pairwise(_ENDS[cu_seq_lens_q]):
        of_text = [states[:, :, start:end] for states in (query, key, value)]
        mask = None if attention_mask is None else attention_mask[..., start:end, start:end]
        parts.append(sdpa_attention_forward(module, *of_text, mask, **options)[0])
    return torch.cat(parts, 1), None


# The ends of the texts of a batch, read once and not in each layer.
_ENDS: WeakIdKeyDictionary = WeakIdKeyDictionary()


def has_kernel(query: Tensor) -> bool:
    """Whether torch's kernel for texts of several lengths takes such states."""
    return (
        _KERNEL is not None
        and query.device.type == "cuda"
        and query.dtype != torch.float32
        and query.shape[-1] <= _WIDEST_HEAD
        and torch.cuda.get_device_capability(query.device) >= _AMPERE
    )


def _in_one(query: Tensor, key: Tensor, value: Tensor, ends: Tensor, **options: Any) -> Tensor:
    """``(1, tokens, heads, width)``; the states of all texts lie one after the other."""
    assert _KERNEL is not None
    states = [part[0].transpose(0, 1) for part in (query, key, value)]
    longest = int(options["max_length_q"])
    joined_states = _KERNEL(
        *states,
        *(ends, ends, longest, longest),
        scale=options.get("scaling"),
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return joined_states.unsqueeze(0)


def _mask(*arguments: Any, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """SDPA's mask, without a look at padding in training, where it is on the right.

    No text sees what is right of it, and the host would wait for the GPU to look.
    """
    causal = options.get("allow_is_causal_skip") and options["q_length"] == options["kv_length"]
    trains = causal and torch.is_grad_enabled()
    mask: Tensor | None = sdpa_mask(
        *arguments, attention_mask=None if trains else attention_mask, **options
    )
    return mask


AttentionInterface.register(BY_TEXT, _by_text)
AttentionMaskInterface.register(BY_TEXT, _mask)
