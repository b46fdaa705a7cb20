"""VeRA: frozen random projections beside linear layers, trained vectors scale their results.

Source: Kopiczko et al. 2023 (arXiv:2310.11454).
"""

from __future__ import annotations

from peft import PeftConfig, VeraConfig
from torch import nn

from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import needs_transpose, target_modules


class VeRA(PeftStrategy):
    """Parameters: ``r``, ``target_modules`` and ``d_initial``, as PEFT spells them."""

    name = "vera"

    def peft_config(self, model: nn.Module, parameters: Parameters, setting: Setting) -> PeftConfig:
        targets = target_modules(model, str(parameters["target_modules"]))
        return VeraConfig(
            task_type=setting.task_type,
            r=int(parameters["r"]),
            target_modules=targets,
            d_initial=float(parameters.get("d_initial", 0.1)),
            fan_in_fan_out=needs_transpose(model, targets),
        )
