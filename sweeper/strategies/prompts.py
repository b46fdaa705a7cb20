"""The common base class of prefix tuning and P-tuning: trained vectors before the input.

The base is never changed, so ``remove`` and ``base_output`` return it as it is. (PEFT's own
``disable_adapter`` fails for a classifier's base.)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import PeftModel, PeftType
from torch import Tensor, nn

from sweeper.errors import Problem, UsageError
from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting


class PromptStrategy(PeftStrategy):
    """A strategy that trains ``num_virtual_tokens`` vectors and does not change the base."""

    for_usual_classes: ClassVar[bool] = False  # PEFT's generation is wrong, see ``generate``

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        if problems := self.problems(model, parameters):
            raise UsageError(problems)
        adapted = super().apply(model, parameters, setting)
        if setting.precision == "bf16-pure":  # PEFT always makes prompt encoders in fp32
            adapted.prompt_encoder.to(torch.bfloat16)
        return _with_generate(adapted)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        return _with_generate(super().load(model, folder))

    @contextmanager
    def base_output(self, adapted: nn.Module) -> Iterator[nn.Module]:
        assert isinstance(adapted, PeftModel)
        yield adapted.get_base_model()

    def remove(self, adapted: nn.Module) -> nn.Module:
        assert isinstance(adapted, PeftModel)
        base: nn.Module = adapted.get_base_model()
        return base.requires_grad_(False)

    def problems(self, model: nn.Module, parameters: Parameters) -> list[Problem]:
        """The problems of this prompt on this base; empty if there are none."""
        tokens = int(parameters["num_virtual_tokens"])
        context = getattr(model.config, "max_position_embeddings", None)
        if context is None or tokens < context:
            return []
        why = f"Virtual tokens take up positions, and the model has {context}."
        return [Problem(f"num_virtual_tokens = {tokens}", why, "Use fewer virtual tokens.")]


def generate(
    adapted: Any, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> Tensor:
    """Continue the virtual tokens and the input, in place of ``PeftModel.generate``.

    With a cache, PEFT's method (0.21) inserts the virtual tokens again at every step, since
    transformers renamed the cache (5.24): the generated tokens are wrong, without an error.

    Args:
        adapted: A ``PeftModel`` with a prompt, over a causal language model.
        input_ids: ``(batch, tokens)``, padded on the left.
        attention_mask: Same shape; all ones if None.
        options: Options of transformers' ``generate``, except beams and several sequences per
            input.

    Returns:
        ``(batch, tokens and new tokens)``.
    """
    if max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1) > 1:
        raise UsageError("prompt methods generate one sequence per input, without beams")
    base = adapted.get_base_model()
    rows, config = len(input_ids), adapted.active_peft_config
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    virtual = input_ids.new_zeros(rows, config.num_virtual_tokens)  # placeholders: never looked up
    options |= {"attention_mask": torch.cat([virtual + 1, attention_mask], 1), "use_cache": True}
    prompt = adapted.get_prompt(rows)
    if config.peft_type == PeftType.PREFIX_TUNING:
        names = inspect.signature(base.forward).parameters
        options["cache" if "cache" in names else "past_key_values"] = prompt
        ids = torch.cat([virtual, input_ids], 1)
        return base.generate(input_ids=ids, **options)[:, virtual.shape[1] :]
    embedded = base.get_input_embeddings()(input_ids)
    embedded = torch.cat([prompt.to(embedded.dtype), embedded], 1)
    return torch.cat([input_ids, base.generate(inputs_embeds=embedded, **options)], 1)


def _with_generate(adapted: nn.Module) -> nn.Module:
    """The model with the ``generate`` of this module, if its base can generate."""
    if hasattr(adapted.get_base_model(), "generate"):
        adapted.generate = partial(generate, adapted)
    return adapted
