"""Bottleneck adapters: a small network after each layer's output projections of a frozen base.

Source: Houlsby et al. 2019 (arXiv:1902.00751); Pfeiffer et al. 2020 (arXiv:2005.00052). PEFT has no
such adapters; ``bottleneck`` implements them.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from sweeper.strategies.bottleneck import BottleneckConfig
from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import modules_to_save


class Adapter(PeftStrategy):
    """Trains one or two bottlenecks a layer (``placement``) of ``2hb + b + h`` weights.

    ``h`` is the hidden size and ``b`` is ``h // reduction_factor``.
    """

    name: ClassVar[str] = "adapter"
    for_usual_classes: ClassVar[bool] = False  # PEFT does not know the type

    def peft_config(
        self, model: nn.Module, parameters: Parameters, setting: Setting
    ) -> BottleneckConfig:
        return BottleneckConfig(
            task_type=setting.task_type,
            placement=str(parameters.get("placement", "houlsby")),
            reduction_factor=float(parameters["reduction_factor"]),
            modules_to_save=modules_to_save(model, parameters),
        )
