"""(IA)3: trained vectors multiply keys, values and the inner activations of feed-forward parts.

Source: Liu et al. 2022 (arXiv:2205.05638), section 3.3.
"""

from __future__ import annotations

from peft import IA3Config, PeftConfig
from torch import nn
from transformers.pytorch_utils import Conv1D

from sweeper.facts.models.linear_layers import layer_names
from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import linear_layers, needs_transpose

_KEYS_AND_VALUES = layer_names("k", "v", "qkv", "kv_b")


class IA3(PeftStrategy):
    """It has no parameters besides those of every training."""

    name = "ia3"

    def peft_config(self, model: nn.Module, parameters: Parameters, setting: Setting) -> PeftConfig:
        keys_and_values, inner = [], []
        width = int(model.config.get_text_config().hidden_size)
        for name, layer in linear_layers(model).items():
            outputs = int(isinstance(layer, Conv1D))
            if "att" in name:
                keys_and_values += [name] if name.rpartition(".")[2] in _KEYS_AND_VALUES else []
            elif layer.weight.shape[outputs] == width != layer.weight.shape[1 - outputs]:
                inner.append(name)
        targets = [*keys_and_values, *inner]
        return IA3Config(
            task_type=setting.task_type,
            target_modules=targets,
            feedforward_modules=inner,
            fan_in_fan_out=needs_transpose(model, targets),
        )
