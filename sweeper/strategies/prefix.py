"""Prefix tuning: trained keys and values before the first token in every layer of a frozen base.

Source: Li & Liang 2021 (arXiv:2101.00190). The model gets the prefix as the cache of earlier
tokens, so it works only on decoders, and not with gradient checkpointing, which drops caches.
"""

from __future__ import annotations

import warnings
from itertools import cycle, islice
from pathlib import Path
from typing import ClassVar

import torch
from peft import PrefixTuningConfig, initialize_kv_prefix_from_past_key_values
from torch import Tensor, nn

from sweeper.errors import Problem
from sweeper.strategies.prompts import PromptStrategy
from sweeper.strategies.strategy import Parameters, Setting

# Text whose keys and values a prefix starts from. Activations of real words are a better start than
# random ones; which words hardly matters (arXiv:2101.00190, section 7.4).
START_TEXT = "Read what follows carefully. Then give the answer that fits it best, and only that."


class Prefix(PromptStrategy):
    """Trains ``num_virtual_tokens`` keys and values in each layer.

    With ``v`` virtual tokens, ``l`` layers and ``d`` = key-value heads x head width, these are
    ``2vld`` weights. With ``prefix_projection`` through a hidden layer of width ``e`` =
    ``encoder_hidden_size`` they are ``vd + (d + 1)e + 2(e + 1)ld`` (arXiv:2101.00190, section 4.3);
    the projection is used in training only and not saved. ``prefix_init`` is ``random``, ``zero``
    (an empty prefix) or ``text`` (the cache of ``START_TEXT``), which needs ``prefix_projection``
    off.
    """

    name: ClassVar[str] = "prefix"

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        _ignore_cache_name_warning()
        adapted = super().apply(model, parameters, setting)
        if _init(parameters) == "text":
            tokens = setting.tokenizer(START_TEXT)["input_ids"]
            ids = list(islice(cycle(tokens), int(parameters["num_virtual_tokens"])))
            initialize_kv_prefix_from_past_key_values(adapted, past_key_values=_cache(model, ids))
        return adapted

    def peft_config(
        self, model: nn.Module, parameters: Parameters, setting: Setting
    ) -> PrefixTuningConfig:
        keys = [key for key, _ in _cache(model, [0])]  # (1, heads, 1, head width) each
        heads, width = keys[0].shape[1], keys[0].shape[3]
        return PrefixTuningConfig(
            task_type=setting.task_type,
            num_virtual_tokens=int(parameters["num_virtual_tokens"]),
            prefix_projection=bool(parameters.get("prefix_projection", False)),
            encoder_hidden_size=int(parameters.get("encoder_hidden_size") or heads * width),
            init_weights="zero" if _init(parameters) == "zero" else None,
            num_layers=len(keys),
            num_attention_heads=heads,
            token_dim=heads * width,
        )

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        _ignore_cache_name_warning()
        return super().load(model, folder)

    def problems(self, model: nn.Module, parameters: Parameters) -> list[Problem]:
        problems = super().problems(model, parameters)
        if _init(parameters) == "text" and parameters.get("prefix_projection", False):
            why = "The projection cannot be inverted to give a text's keys and values."
            fix = "Choose another prefix_init, or turn prefix_projection off."
            problems.append(Problem("prefix_init = 'text' with prefix_projection", why, fix))
        return [*problems, *_cache_problems(model)]


def _init(parameters: Parameters) -> str:
    return str(parameters.get("prefix_init", "random"))


def _cache(model: nn.Module, ids: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer for these tokens; empty for a model without a cache."""
    device = next(model.parameters()).device
    training = model.training
    with torch.no_grad():
        output = model.eval()(input_ids=torch.tensor([ids], device=device), use_cache=True)
    model.train(training)
    cache = output["cache"] if "cache" in output else output.get("past_key_values")
    return [(layer[0], layer[1]) for layer in cache or ()]


def _cache_problems(model: nn.Module) -> list[Problem]:
    """A problem if the model has no cache, or one to which PEFT cannot give a prefix."""
    fix = "Use P-tuning or LoRA on this model."
    what = f"prefix tuning does not work on {type(model).__name__}"
    try:
        layers = _cache(model, [0])
    except TypeError:  # its forward() takes no use_cache
        layers = []
    if not layers:
        return [Problem(what, "It keeps no keys and values of earlier tokens.", fix)]
    shape = layers[0][0].shape
    if any(part is None or part.shape != shape for layer in layers for part in layer):
        return [Problem(what, "Its layers' keys and values are not all of one shape.", fix)]
    return []


def _ignore_cache_name_warning() -> None:
    """Ignore the warning of transformers 5.24 about ``past_key_values``, which PEFT 0.21 uses."""
    warnings.filterwarnings("ignore", r"`past_key_values` is deprecated", FutureWarning)
