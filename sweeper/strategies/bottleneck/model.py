"""Puts bottleneck adapters into a model and takes them out again, as one of PEFT's tuners."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from peft import mapping
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType
from torch import nn
from transformers.pytorch_utils import Conv1D

from sweeper.errors import ModelError, UsageError
from sweeper.strategies.bottleneck.config import BottleneckConfig, BottleneckType
from sweeper.strategies.bottleneck.layer import BottleneckLayer, Linear

# Every transformers architecture that was looked at names its attention module so.
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_EXPERT = re.compile(r"expert|moe", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sites:
    """Names of the modules whose output an adapter may transform, in order of the layers.

    Args:
        attention: Output projections of the attention modules, before the residual is added.
        mlp: Output projections of the feed-forward modules, before the residual is added.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]


def find_sites(model: nn.Module, hidden_size: int) -> Sites:
    """The attention and MLP output projections of every block.

    A block is a module with an attention module as direct child and a projection back to
    ``hidden_size`` outside of it. In both parts the output projection is the last linear module,
    in the order that the model defines them, that returns ``hidden_size`` features. (Phi-3 defines
    its fused input projection after the output one, but that returns more features.)

    Args:
        model: The base model, with or without adapters already in it.
        hidden_size: Width of the residual stream in features.

    Raises:
        ModelError: No block has both projections, or blocks are mixtures of experts, which have
            no single output projection.
    """
    attention: list[str] = []
    mlp: list[str] = []
    for name, block in model.named_modules():
        inside, outside = _projections(block, hidden_size)
        if inside and outside:
            attention.append(_join(name, inside))
            mlp.append(_join(name, outside))
    experts = [name for name, _ in model.named_modules() if _EXPERT.search(name.rpartition(".")[2])]
    if experts:
        raise ModelError(
            f"Bottleneck adapters cannot be placed in {type(model).__name__}.",
            f"{experts[0]!r} is a mixture of experts: it has no single output projection.",
            "Use LoRA on this model.",
        )
    if not attention:
        raise ModelError(
            f"Bottleneck adapters cannot be placed in {type(model).__name__}.",
            "No block was found that holds an attention module and a linear projection back to"
            f" {hidden_size} features beside it.",
            "Name the modules in target_modules, or use another strategy.",
        )
    return Sites(tuple(attention), tuple(mlp))


def _projections(block: nn.Module, hidden_size: int) -> tuple[str | None, str | None]:
    """Last projection to ``hidden_size`` inside and outside the block's attention child."""
    inside: str | None = None
    outside: str | None = None
    for child_name, child in block.named_children():
        is_attention = bool(_ATTENTION.search(child_name))
        for name in _linear_names(child, child_name, hidden_size):
            if is_attention:
                inside = name
            else:
                outside = name
    return inside, outside


def _linear_names(module: nn.Module, name: str, hidden_size: int) -> list[str]:
    if _out_features(module) is not None:
        return [name] if _out_features(module) == hidden_size else []
    base = getattr(module, "base_layer", None)  # an adapter already wraps this one
    if isinstance(base, nn.Module):
        return _linear_names(base, name, hidden_size)
    return [
        found
        for child_name, child in module.named_children()
        for found in _linear_names(child, f"{name}.{child_name}", hidden_size)
    ]


def _out_features(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return int(module.out_features)
    return int(module.nf) if isinstance(module, Conv1D) else None


def _join(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


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


def register() -> None:
    """Registers bottleneck adapters for ``get_peft_model`` and ``PeftModel.from_pretrained``.

    PEFT's ``PeftType`` is closed and ``register_peft_method`` accepts only its members; the three
    dictionaries that loading, saving and wrapping read are open. May be called again.

    Raises:
        RuntimeError: Something else already has this name or prefix: a PEFT that brings its own
            bottleneck adapters must not be silently replaced.
    """
    key = BottleneckType.BOTTLENECK
    known = mapping.PEFT_TYPE_TO_TUNER_MAPPING.get(key)
    if known is BottleneckModel:
        return
    taken = key.value in PeftType.__members__ or known is not None
    if taken or BottleneckModel.prefix in mapping.PEFT_TYPE_TO_PREFIX_MAPPING.values():
        raise RuntimeError(
            f"PEFT already has a method called {key.value!r}, or one with the prefix"
            f" {BottleneckModel.prefix!r}: {known}."
        )
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING[key] = BottleneckConfig
    mapping.PEFT_TYPE_TO_TUNER_MAPPING[key] = BottleneckModel
    mapping.PEFT_TYPE_TO_PREFIX_MAPPING[key] = BottleneckModel.prefix
