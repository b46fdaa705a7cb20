"""Shared settings for loading and saving base models with transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.utils import logging as library_logging


def class_options(model_class: type[nn.Module]) -> dict[str, Any]:
    """Extra arguments of ``from_pretrained`` for a model class.

    BERT's pooler is left out: a classifier here pools token states itself, so the pooler would
    count as trained although it never gets a gradient.
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
    a weight permanently in its first forward pass without gradient. Later training steps then had
    no gradients below the last adapter, and no error. Repacking does not speed up evaluation.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # attribute of Linear4bit
