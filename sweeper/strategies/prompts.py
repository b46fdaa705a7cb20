"""The common part of prefix tuning and P-tuning: trained vectors before the input.

The base is never changed, so taking the prompt away means going back to the base (PEFT's own
``disable_adapter`` fails for a classifier's base).
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
    """A strategy that trains ``num_virtual_tokens`` vectors and leaves the base as it is."""

    for_usual_classes: ClassVar[bool] = False  # what PEFT generates is wrong, see ``generate``

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        if problems := self.problems(model, parameters):
            raise UsageError(problems)
        adapted = super().apply(model, parameters, setting)
        if setting.precision == "bf16-pure":  # PEFT makes prompt encoders in fp32, always
            adapted.prompt_encoder.to(torch.bfloat16)
        return _able_to_generate(adapted)

    def save(self, adapted: nn.Module, folder: Path) -> None:
        adapted.prompt_encoder.eval()  # what is saved goes through the encoder, dropout included
        with torch.no_grad():  # an LSTM's result differs in the last bits where gradients are kept
            super().save(adapted, folder)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        return _able_to_generate(super().load(model, folder))

    @contextmanager
    def base_output(self, adapted: nn.Module) -> Iterator[nn.Module]:
        assert isinstance(adapted, PeftModel)
        yield adapted.get_base_model()

    def remove(self, adapted: nn.Module) -> nn.Module:
        assert isinstance(adapted, PeftModel)
        base: nn.Module = adapted.get_base_model()
        return base.requires_grad_(False)

    def problems(self, model: nn.Module, parameters: Parameters) -> list[Problem]:
        """The problems of using this prompt with this base."""
        tokens = int(parameters["num_virtual_tokens"])
        context = getattr(model.config, "max_position_embeddings", None)
        if context is not None and tokens >= context:
            return [
                Problem(
                    f"num_virtual_tokens is {tokens}.",
                    f"Virtual tokens take up positions, and the model has {context}.",
                    "Use fewer virtual tokens.",
                )
            ]
        return []


def generate(
    adapted: Any, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> Tensor:
    """What ``adapted.generate`` should give: the base continues the prompt and the input.

    PEFT's own (0.21) puts the prompt in again at every step once a cache is in use, since
    transformers renamed it (5.24): the tokens that come out are wrong, without an error.

    Args:
        adapted: A ``PeftModel`` with a prompt, over a causal language model.
        input_ids: ``(batch, tokens)``, padded on the left.
        attention_mask: Same shape; all ones if None.
        options: Options of transformers' ``generate``, without beams or several sequences an input.

    Returns:
        ``(batch, tokens and new tokens)``.
    """
    if max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1) > 1:
        raise UsageError("Prompt methods generate one sequence an input, without beams.")
    base = adapted.get_base_model()
    rows, config = len(input_ids), adapted.active_peft_config
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    virtual = input_ids.new_zeros(rows, config.num_virtual_tokens)  # stand-ins: never looked up
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


def _able_to_generate(adapted: nn.Module) -> nn.Module:
    if hasattr(adapted.get_base_model(), "generate"):
        adapted.generate = partial(generate, adapted)
    return adapted
