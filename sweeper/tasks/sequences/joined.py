"""Texts packed into one sequence without padding; each attends only to its own tokens."""

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

ATTENTION_BY_TEXT = "sdpa_by_text"
"""Name in transformers of sweeper's attention for packed texts, which does not need flash-attn."""
_KERNEL: Callable[..., Tensor] | None = (
    varlen_attn if varlen_attn and "enable_gqa" in signature(varlen_attn).parameters else None
)
"""Torch's own FlashAttention for packed texts; None if this version has none."""
# Limits of this kernel: the lowest compute capability, and the largest width of a head.
_AMPERE, _MAX_HEAD_WIDTH = (8, 0), 256
INPUTS = (
    *("input_ids", "attention_mask", "position_ids"),
    *("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"),
)
"""The entries of a padded batch, or of packed texts, that a model takes."""
_FLATTEN = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
# Token ids of two texts, either of which a second text follows.
_FIRST_TEXTS, _SECOND_TEXT = (range(1, 9), range(9, 17)), range(17, 21)
# Largest difference due to rounding, relative to the logits' standard deviation. An earlier text
# that is not masked changes logits far more.
_ROUNDING = 1e-3


def pack_texts(features: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All texts packed into a batch of one row.

    Positions restart with each text, whose first token is not a label. The ends of the texts are in
    the arguments of transformers' FlashAttention.

    Args:
        features: Items with ``input_ids`` and ``labels``.
    """
    batch: dict[str, Any] = dict(_FLATTEN(features))
    # All ones: without a mask, transformers would make one of tokens x tokens.
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


def keeps_texts_apart(model: nn.Module) -> bool:
    """Whether the model's logits for a packed text do not depend on the text before it.

    False for models whose layers do not get the ends of texts (such as ALiBi and state-space
    models), and
    for prompt methods, whose virtual tokens precede the first text only.
    """
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    device = next(model.parameters()).device
    training_modules = [module for module in model.modules() if module.training]
    outputs = []
    try:
        # Not eval(): quantised layers would repack their weights.
        for module in training_modules:
            module.training = False
        with torch.no_grad(), catch_warnings(action="ignore"):
            for first in _FIRST_TEXTS:
                texts = [{"input_ids": [*ids], "labels": [*ids]} for ids in (first, _SECOND_TEXT)]
                batch = pack_texts(texts)
                tensors = {n: v.to(device) for n, v in batch.items() if isinstance(v, Tensor)}
                batch |= tensors
                logits = model(**{n: batch[n] for n in INPUTS}, use_cache=False).logits
                outputs.append(logits[0, -len(_SECOND_TEXT) :].float())
    except TypeError:  # its forward() has no argument for the ends of texts
        return False
    finally:
        for module in training_modules:
            module.training = True
    return bool((outputs[0] - outputs[1]).abs().max() <= _ROUNDING * outputs[0].std())


def _attend_by_text(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each packed text, by one kernel or by SDPA for each text, without a mask.

    Args:
        query: ``(batch, heads, tokens, width)``, like ``key`` and ``value``.
        attention_mask: ``(batch, 1, tokens, tokens)``; None for causal attention without padding.
        cu_seq_lens_q: 0 and the end of each text; None in a padded batch.
        options: ``scaling``, ``dropout`` and ``max_length_q`` among others.
    """
    if cu_seq_lens_q is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return output
    if attention_mask is None and not options.get("dropout") and has_kernel(query):
        return _attend_in_one_kernel(query, key, value, cu_seq_lens_q, **options), None
    parts = []
    if cu_seq_lens_q not in _ENDS:
        _ENDS[cu_seq_lens_q] = cu_seq_lens_q.tolist()
    for start, end in pairwise(_ENDS[cu_seq_lens_q]):
        states_of_text = [states[:, :, start:end] for states in (query, key, value)]
        mask = None if attention_mask is None else attention_mask[..., start:end, start:end]
        parts.append(sdpa_attention_forward(module, *states_of_text, mask, **options)[0])
    return torch.cat(parts, 1), None


# From ``cu_seq_lens_q`` of a batch to its values, copied from the device once for all layers.
_ENDS: WeakIdKeyDictionary = WeakIdKeyDictionary()


def has_kernel(query: Tensor) -> bool:
    """Whether torch's kernel for packed texts supports these states."""
    return (
        _KERNEL is not None
        and query.device.type == "cuda"
        and query.dtype != torch.float32
        and query.shape[-1] <= _MAX_HEAD_WIDTH
        and torch.cuda.get_device_capability(query.device) >= _AMPERE
    )


def _attend_in_one_kernel(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, **options: Any
) -> Tensor:
    """The attention output of all texts, ``(1, tokens, heads, width)``."""
    assert _KERNEL is not None
    states = [part[0].transpose(0, 1) for part in (query, key, value)]
    max_length = int(options["max_length_q"])
    output = _KERNEL(
        *states,
        *(ends, ends, max_length, max_length),
        scale=options.get("scaling"),
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.unsqueeze(0)


def _mask(*arguments: Any, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """SDPA's mask, without padding when a causal model is trained.

    Padding is on the right, where causal attention does not look. Checking it would make the host
    wait for the GPU twice, and a mask would rule out FlashAttention.
    """
    is_causal = options.get("allow_is_causal_skip") and options["q_length"] == options["kv_length"]
    is_training = is_causal and torch.is_grad_enabled()
    mask: Tensor | None = sdpa_mask(
        *arguments, attention_mask=None if is_training else attention_mask, **options
    )
    return mask


AttentionInterface.register(ATTENTION_BY_TEXT, _attend_by_text)
for _name in ("sdpa", ATTENTION_BY_TEXT):
    AttentionMaskInterface.register(_name, _mask)
