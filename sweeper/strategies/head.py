"""Frozen model with a linear head: nothing of the base trains.

The trial fits the head on features that are computed once, without gradient descent through the
base. The whole regularisation path is one trial.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from sweeper.strategies.strategy import Parameters, Setting, Strategy


class Head(Strategy):
    """Leave the base as it is; the trial fits a logistic regression on its pooled features."""

    name = "head"
    gradient_trained = False

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        return model.requires_grad_(False)

    def remove(self, adapted: nn.Module) -> nn.Module:
        return adapted

    def save(self, adapted: nn.Module, folder: Path) -> None:
        """Save nothing: the base is unchanged, and the caller saves the head."""

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        return model
