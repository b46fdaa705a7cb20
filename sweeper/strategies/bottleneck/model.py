"""Puts bottleneck adapters into a model and takes them out again, as one of PEFT's tuners."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from sweeper.errors import UsageError
from sweeper.strategies.bottleneck.config import BottleneckConfig
from sweeper.strategies.bottleneck.layer import BottleneckLayer, Linear
from sweeper.strategies.bottleneck.sites import find_sites


class BottleneckModel(BaseTuner):
    """A model with bottleneck adapters after its output projections.

    Made by ``peft.get_peft_model(model, BottleneckConfig(...))``. Source: Houlsby et al. 2019,
    "Parameter-efficient transfer learning for NLP", arXiv:1902.00751. Unlike there, the model's
    own layer norms stay frozen, so that taking the adapter away leaves the base model.
    """

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    # Every architecture is resolved by structure, so PEFT's table by model type stays empty.
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(
        self, peft_config: BottleneckConfig, model_config: dict[str, Any]
    ) -> BottleneckConfig:
        if peft_config.target_modules is None:
            sites = find_sites(self.model, self.model.config.get_text_config().hidden_size)
            both = peft_config.placement == "houlsby"
            peft_config.target_modules = set(sites.mlp + (sites.attention if both else ()))
        return peft_config

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = Linear(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:  # one more adapter: not trained unless chosen
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> NoReturn:
        raise UsageError(
            "A bottleneck adapter cannot be merged into the base model.",
            "It changes a projection's output by a non-linear function: no weights equal that.",
            "Keep base model and adapter apart, or use LoRA where one merged model is needed.",
        )
