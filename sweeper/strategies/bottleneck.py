"""Bottleneck adapters as a PEFT tuner. Importing this module registers them with PEFT."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from peft import mapping
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType
from torch import nn
from transformers.activations import ACT2FN
from transformers.pytorch_utils import Conv1D

from sweeper.errors import ModelError, Problem, UsageError, near_match

PLACEMENTS = ("houlsby", "pfeiffer")
NON_LINEARITIES = ("relu", "gelu", "silu", "tanh")
# Standard deviation of initial weights, truncated at twice this value. Below 1e-2 results hardly
# change, above they get worse (arXiv:1902.00751, sections 2.1 and 3.6).
INIT_STD = 1e-2
# Name of the attention module in every transformers architecture examined.
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_EXPERT = re.compile(r"expert|moe", re.IGNORECASE)

_NOTICE = """
## How to load this adapter

It is a bottleneck adapter, a type that PEFT does not know by itself. Install `sweeper` and import
the module that registers it before PEFT reads this folder:

```python
import sweeper.strategies.bottleneck  # registers the adapter type
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "path/to/this/folder")
```

It cannot be merged into the base model: it is not linear in its input.
"""


class BottleneckType(enum.StrEnum):
    """The one PEFT type that this package adds.

    PEFT looks a type up by its string and in places reads its ``.value``. An enumeration of our own
    satisfies both, without a change of PEFT's closed one.
    """

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    """Configuration of bottleneck adapters (Houlsby et al. 2019; Pfeiffer et al. 2020).

    A small network ``h + up(f(down(dropout(h))))`` on the output ``h`` of a projection, before
    the model adds its residual.

    Args:
        placement: ``houlsby``: after the attention's and after the MLP's output projection of
            every layer (arXiv:1902.00751, figure 2). ``pfeiffer``: after the MLP's only
            (arXiv:2005.00052), half the parameters. Ignored if ``target_modules`` is given.
        reduction_factor: Width of the residual stream over width of the bottleneck, at least 1.
        non_linearity: Name of ``f``; by default ReLU, as in arXiv:2005.00052, equation 1.
        dropout: Probability with which a feature of the adapter's input is dropped.
        target_modules: Names of linear modules whose outputs are adapted. Found in the model's
            structure if None.
        exclude_modules: Names to exclude from ``target_modules``.
        modules_to_save: Modules besides the adapters that are trained and saved.
    """

    placement: str = field(default="houlsby")
    reduction_factor: float = field(default=16.0)
    non_linearity: str = field(default="relu")
    dropout: float = field(default=0.0)
    target_modules: list[str] | set[str] | str | None = field(default=None)
    exclude_modules: list[str] | set[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BottleneckType.BOTTLENECK
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if problems := list(self._problems()):
            raise UsageError(problems)

    def bottleneck_size(self, features: int) -> int:
        """Width of the bottleneck on an output of ``features`` features; at least 1.

        >>> BottleneckConfig(reduction_factor=16).bottleneck_size(576)
        36
        """
        return max(1, int(features // self.reduction_factor))

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write the configuration, and into the folder's card how to load the adapter."""
        super().save_pretrained(save_directory, **kwargs)
        card = Path(save_directory) / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        if _NOTICE not in text:
            card.write_text(text.rstrip() + "\n" + _NOTICE, encoding="utf-8")

    def _problems(self) -> Iterator[Problem]:
        for name, allowed in (("placement", PLACEMENTS), ("non_linearity", NON_LINEARITIES)):
            if (value := getattr(self, name)) not in allowed:
                yield Problem(f"{name} is {value!r}.", near_match(value, allowed))
        if self.reduction_factor < 1:
            why = "It must be at least 1, so that the bottleneck is not wider than the layer."
            yield Problem(f"reduction_factor is {self.reduction_factor}.", why)
        if not 0 <= self.dropout < 1:
            yield Problem(f"dropout is {self.dropout}.", "It must be in [0, 1).")


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear module whose output goes through its active adapters.

    Args:
        base_layer: A linear module (``Linear``, quantised or not, or ``Conv1D``).
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "non_linearity")
    cast_input_dtype_enabled = True

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
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
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.base_layer(x, *args, **kwargs)
        return result if self.disable_adapters else self.adapt(result)

    def update_layer(
        self, adapter_name: str, config: BottleneckConfig, inference_mode: bool = False
    ) -> None:
        """Add or replace the adapter of that name; it starts close to the identity."""
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

        The changes of several active adapters are added, so that their order does not matter.

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


@dataclass(frozen=True, slots=True)
class Sites:
    """Names of the modules whose output an adapter may transform, in layer order.

    Args:
        attention: Output projections of the attention modules, before the residual is added.
        mlp: Output projections of the feed-forward modules, before the residual is added.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]


def find_sites(model: nn.Module, hidden_size: int) -> Sites:
    """The attention and MLP output projections of every block.

    A block is a module with an attention module as a direct child and a projection to
    ``hidden_size`` outside of that child. In both parts the output projection is the last linear
    module defined that returns ``hidden_size`` features. (Phi-3 defines its fused input projection
    later, but that returns more features.)

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
            code="mixture-of-experts",
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
    base = getattr(module, "base_layer", None)  # set if an adapter already wraps the module
    if isinstance(base, nn.Module):
        return _linear_names(base, name, hidden_size)
    return [
        linear
        for child_name, child in module.named_children()
        for linear in _linear_names(child, f"{name}.{child_name}", hidden_size)
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
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:  # a further adapter trains only if activated
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> NoReturn:
        raise UsageError(
            "A bottleneck adapter cannot be merged into the base model.",
            "It changes a projection's output by a non-linear function: no weights equal that.",
            "Keep base model and adapter apart, or use LoRA where one merged model is needed.",
            code="no-merge",
        )


def register() -> None:
    """Register bottleneck adapters for ``get_peft_model`` and ``PeftModel.from_pretrained``.

    PEFT's ``PeftType`` is closed and ``register_peft_method`` accepts only its members; the three
    dictionaries that loading, saving and wrapping read can be extended. May be called repeatedly.

    Raises:
        RuntimeError: PEFT already has this name or prefix, which must not be replaced silently.
    """
    key = BottleneckType.BOTTLENECK
    tuner = mapping.PEFT_TYPE_TO_TUNER_MAPPING.get(key)
    if tuner is BottleneckModel:
        return
    taken = key.value in PeftType.__members__ or tuner is not None
    if taken or BottleneckModel.prefix in mapping.PEFT_TYPE_TO_PREFIX_MAPPING.values():
        raise RuntimeError(
            f"PEFT already has a method called {key.value!r}, or one with the prefix"
            f" {BottleneckModel.prefix!r}: {tuner}."
        )
    mapping.PEFT_TYPE_TO_CONFIG_MAPPING[key] = BottleneckConfig
    mapping.PEFT_TYPE_TO_TUNER_MAPPING[key] = BottleneckModel
    mapping.PEFT_TYPE_TO_PREFIX_MAPPING[key] = BottleneckModel.prefix


register()
