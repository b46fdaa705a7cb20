"""Avoids Trainer's walks over all modules at each training step.

Trainer switches the model to training, gathers parameters to clip gradients, and again to reset
them. Measured with MiniLM and LoRA on one core: 42 of the 220 ms of a step of 8 short texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def trainable_cache(model: nn.Module) -> Iterator[None]:
    """A context in which the model caches which weights are trainable.

    ``parameters()`` returns only these, ``zero_grad()`` resets only these, and ``train()`` does
    nothing from its second call on, until the model evaluates. Trainability must not change.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    original_train, original_parameters = model.train, model.parameters

    def parameters(recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(trained) if recurse else original_parameters(recurse=False)

    def zero_grad(set_to_none: bool = True) -> None:
        for weight in trained:
            weight.grad = None

    # Not ``model.training``: it is True in a new wrapper whose base is still in evaluation mode.
    training = False

    def train(mode: bool = True) -> nn.Module:
        nonlocal training
        if not (mode and training):
            original_train(mode)
            training = mode
        return model

    overrides = {"parameters": parameters, "zero_grad": zero_grad, "train": train}
    vars(model).update(overrides)
    try:
        yield
    finally:
        for name in overrides:
            del vars(model)[name]
