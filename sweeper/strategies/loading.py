"""Shared settings for loading and saving base models with transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.utils import logging as library_logging


def options_without_pooler(model_class: type[nn.Module]) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that leave out the pooler of a model class such as BERT's.

    Classifiers of sweeper pool token states themselves. A pooler would never get a gradient, but
    would count as trained.
    """
    accepted = inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


@contextmanager
def quiet_library() -> Iterator[None]:
    """A context without transformers' progress bars and warnings."""
    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(verbosity)
        library_logging.enable_progress_bar()


def keep_trainable(model: nn.Module) -> None:
    """Keep 4-bit weights in a layout that supports gradients.

    Call this before the model's first forward pass. On CPUs with AVX512-BF16, bitsandbytes repacks
    a weight permanently in its first forward pass without gradient. Later training steps then have
    no gradients below the last adapter, without an error. Repacking does not speed up evaluation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # attribute of Linear4bit
