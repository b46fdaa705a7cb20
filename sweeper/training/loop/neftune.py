"""NEFTune: noise on the token embeddings while a model trains (arXiv:2310.05914)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from torch import nn
from transformers.integrations.neftune import neftune_post_forward_hook

from sweeper.tasks.classifier import Classifier


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float) -> Iterator[None]:
    """While this is open, embeddings have noise in training mode; none where ``alpha`` is 0.

    Trainer's own switch knows no model with a head of ours.
    """
    if not alpha:
        yield
        return
    embeddings = _embeddings(model)
    embeddings.neftune_noise_alpha = alpha
    hook = embeddings.register_forward_hook(neftune_post_forward_hook)
    try:
        yield
    finally:
        hook.remove()
        del embeddings.neftune_noise_alpha


def _embeddings(model: nn.Module) -> Any:
    base: Any = model.base if isinstance(model, Classifier) else model
    base = base.get_base_model() if isinstance(base, PeftModel) else base
    return base.get_input_embeddings()
