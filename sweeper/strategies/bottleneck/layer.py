"""One linear module with bottleneck adapters on its output, wherever in a model it may be."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D

from sweeper.errors import UsageError
from sweeper.strategies.bottleneck.config import BottleneckConfig

# Truncated at two standard deviations; below 1e-2 results hardly depend on it, above they get
# worse (arXiv:1902.00751, sections 2.1 and 3.6).
INIT_STD = 1e-2


class BottleneckLayer(BaseTunerLayer):
    """The adapters of one module, by name, and which of them are active.

    Args:
        base_layer: A linear module (``Linear``, quantised or not, or ``Conv1D``).
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "non_linearity")

    def __init__(self, base_layer: nn.Module) -> None:
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict({})
        self.bottleneck_up = nn.ModuleDict({})
        self.bottleneck_dropout = nn.ModuleDict({})
        self.non_linearity: dict[str, nn.Module] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        base = self.get_base_layer()
        if isinstance(base, nn.Linear):
            self.in_features, self.out_features = base.in_features, base.out_features
        elif isinstance(base, Conv1D):
            self.in_features, self.out_features = base.nx, base.nf
        else:
            raise UsageError(
                f"A bottleneck adapter cannot follow a {type(base).__name__}.",
                "Only outputs of Linear and Conv1D modules are supported.",
                "Name other modules in target_modules.",
            )

    def update_layer(
        self, adapter_name: str, config: BottleneckConfig, inference_mode: bool = False
    ) -> None:
        """Adds (or replaces) the adapter of that name, close to the identity."""
        size = config.bottleneck_size(self.out_features)
        self.bottleneck_down[adapter_name] = nn.Linear(self.out_features, size)
        self.bottleneck_up[adapter_name] = nn.Linear(size, self.out_features)
        self.bottleneck_dropout[adapter_name] = nn.Dropout(config.dropout)
        self.non_linearity[adapter_name] = ACT2FN[config.non_linearity]
        self.reset_bottleneck_parameters(adapter_name)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def reset_bottleneck_parameters(self, adapter_name: str) -> None:
        for linear in (self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name]):
            nn.init.trunc_normal_(linear.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            nn.init.zeros_(linear.bias)

    def adapt(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the active adapters to an output.

        With several active adapters their changes are added up: their order does not matter.

        Args:
            hidden: Shape ``(..., out_features)``.

        Returns:
            Same shape and dtype.
        """
        result = hidden
        for name in self.active_adapters:
            if name not in self.bottleneck_down:
                continue
            down, up = self.bottleneck_down[name], self.bottleneck_up[name]
            inner = self.bottleneck_dropout[name](self._cast_input_dtype(hidden, down.weight.dtype))
            result = result + up(self.non_linearity[name](down(inner))).to(hidden.dtype)
        return result


class Linear(nn.Module, BottleneckLayer):
    """A linear module whose output goes through its active adapters."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        nn.Module.__init__(self)
        BottleneckLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.base_layer(x, *args, **kwargs)
        return result if self.disable_adapters else self.adapt(result)

    def __repr__(self) -> str:
        return f"bottleneck.{super().__repr__()}"
