"""How a base model is loaded and saved by transformers, the same wherever that is done."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.utils import logging as library_logging


def class_options(model_class: type[nn.Module]) -> dict[str, Any]:
    """Extra arguments of ``from_pretrained`` for a model class.

    BERT's pooler is left away: a classifier here pools token states itself, so the pooler would
    count as trained although it never gets a gradient.
    """
    accepted = inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in accepted else {}


@contextmanager
def quiet_library() -> Iterator[None]:
    """No progress bars while loading or saving, and no report on what is left away on purpose."""
    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(verbosity)
        library_logging.enable_progress_bar()


def keep_trainable(model: nn.Module) -> None:
    """Keep four-bit weights in a layout that gradients pass through.

    On CPUs with AVX512-BF16, bitsandbytes repacks a weight for good when it first serves a
    forward pass without gradient. Seen: after one evaluation, training went on without an error
    and without gradients below the last adapter. Evaluation is no slower without the repacking.
    To be called before the model serves its first forward pass.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # of bitsandbytes' Linear4bit
