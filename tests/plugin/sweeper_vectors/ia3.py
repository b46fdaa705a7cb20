"""(IA)3: trained vectors multiply keys, values and the inner activations of feed-forward parts.

Source: Liu et al. 2022 (arXiv:2205.05638), section 3.3.
"""

from __future__ import annotations

from peft import IA3Config, PeftConfig
from torch import nn

from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import needs_transpose, role_modules


class IA3(PeftStrategy):
    """It has no parameters besides those of every training."""

    name = "ia3"

    def peft_config(self, model: nn.Module, parameters: Parameters, setting: Setting) -> PeftConfig:
        inner = role_modules(model, ("down",))
        targets = [*role_modules(model, ("key", "value")), *inner]
        return IA3Config(
            task_type=setting.task_type,
            target_modules=targets,
            feedforward_modules=inner,
            fan_in_fan_out=needs_transpose(model, targets),
        )
