"""Avoids the walks over all modules that Trainer makes at each training step.

Trainer switches the model to training, gathers its parameters to clip, and gathers them again to
drop gradients. Measured with MiniLM and LoRA on one core: 42 of 220 ms a step of 8 short texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def quick_steps(model: nn.Module) -> Iterator[None]:
    """While this is open, the model remembers which weights train.

    ``parameters()`` gives only those, ``zero_grad()`` touches only those, and ``train()`` does
    nothing from its second call on, until the model evaluates. What trains must not change.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    whole_train, whole_parameters = model.train, model.parameters

    def parameters(recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(trained) if recurse else whole_parameters(recurse=False)

    def zero_grad(set_to_none: bool = True) -> None:
        for weight in trained:
            weight.grad = None

    # Not ``model.training``: a new wrapper says True while the base inside it is still evaluating.
    training = False

    def train(mode: bool = True) -> nn.Module:
        nonlocal training
        if not (mode and training):
            whole_train(mode)
            training = mode
        return model

    shadows = {"parameters": parameters, "zero_grad": zero_grad, "train": train}
    vars(model).update(shadows)
    try:
        yield
    finally:
        for name in shadows:
            del vars(model)[name]
