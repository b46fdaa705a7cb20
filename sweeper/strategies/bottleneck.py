"""Bottleneck adapters as a PEFT tuner. Importing this module registers them with PEFT."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from peft import mapping
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from sweeper.errors import ModelError, UsageError
from sweeper.strategies.targets import linear_layers

# Standard deviation of initial weights, truncated at twice this value. Below 1e-2 results hardly
# change, above they get worse (arXiv:1902.00751, sections 2.1 and 3.6).
INIT_STD = 1e-2
# Name of the attention module in every transformers architecture examined.
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
# Name of a mixture of experts.
_EXPERT = re.compile(r"expert|moe", re.IGNORECASE)
# A module's name, divided into that of its block and the rest.
_BLOCK = re.compile(r"((?:.*\.)?\d+)\.(.*)")

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

    PEFT looks a type up by its string, and in places reads its ``.value``. PEFT's own enumeration
    cannot be extended.
    """

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    """Configuration of bottleneck adapters (Houlsby et al. 2019; Pfeiffer et al. 2020).

    A small network ``h + up(relu(down(h)))`` on the output ``h`` of a projection, before the model
    adds its residual.

    Args:
        placement: ``houlsby``: after the attention's and after the MLP's output projection of
            every layer (arXiv:1902.00751, figure 2). ``pfeiffer``: after the MLP's only
            (arXiv:2005.00052), half the parameters.
        reduction_factor: Width of the residual stream over width of the bottleneck, at least 1.
        target_modules: Names of linear modules whose outputs are adapted; found in the model's
            structure if None.
        modules_to_save: Modules besides the adapters that are trained and saved.
    """

    placement: str = field(default="houlsby")
    reduction_factor: float = field(default=16.0)
    target_modules: list[str] | set[str] | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BottleneckType.BOTTLENECK
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write the configuration, and add to the folder's README.md how to load the adapter."""
        super().save_pretrained(save_directory, **kwargs)
        card = Path(save_directory) / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        if _NOTICE not in text:
            card.write_text(text.rstrip() + "\n" + _NOTICE, encoding="utf-8")


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear module whose output goes through its adapter.

    Args:
        base_layer: A linear module (``Linear``, quantised or not, or ``Conv1D``).
    """

    adapter_layer_names = ("bottleneck_layers",)
    other_param_names = ()
    cast_input_dtype_enabled = True

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        width = _output_width(base_layer)
        bottleneck_width = max(1, int(width // config.reduction_factor))
        layers = nn.Sequential(
            nn.Linear(width, bottleneck_width), nn.ReLU(), nn.Linear(bottleneck_width, width)
        )
        for layer in (layers[0], layers[2]):  # close to the identity
            nn.init.trunc_normal_(layer.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            nn.init.zeros_(layer.bias)
        self.bottleneck_layers = nn.ModuleDict({adapter_name: layers})
        self._active_adapter = adapter_name
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.base_layer(x, *args, **kwargs)
        for name in () if self.disable_adapters else self.active_adapters:
            layers = self.bottleneck_layers[name]
            cast_result = self._cast_input_dtype(result, layers[0].weight.dtype)
            result = result + layers(cast_result).to(result.dtype)
        return result


def _output_width(layer: nn.Module) -> int:
    """The number of outputs of a linear layer."""
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)


def find_sites(model: nn.Module, hidden_size: int) -> tuple[list[str], list[str]]:
    """The output projections of attention and of the feed-forward part of every block.

    In both parts it is the last linear module defined that returns ``hidden_size`` features, before
    the residual is added. (Phi-3 defines its fused input projection later, but that returns more
    features.)

    Args:
        model: The base model.
        hidden_size: Width of the residual stream in features.

    Returns:
        Names of modules in the order of the blocks.

    Raises:
        ModelError: No block has both projections, or the model has mixtures of experts.
    """
    experts = [name for name, _ in model.named_modules() if _EXPERT.search(name.rpartition(".")[2])]
    if experts:
        raise ModelError(
            f"bottleneck adapters cannot be placed in {type(model).__name__}",
            f"{experts[0]!r} is a mixture of experts: it has no single output projection.",
            "Use LoRA on this model.",
            code="mixture-of-experts",
        )
    attention: dict[str, str] = {}
    mlp: dict[str, str] = {}
    for name, layer in linear_layers(model).items():
        if _output_width(layer) == hidden_size and (match := _BLOCK.fullmatch(name)):
            is_attention = _ATTENTION.search(match[2].rpartition(".")[0])
            (attention if is_attention else mlp)[match[1]] = name
    blocks = [block for block in attention if block in mlp]
    if not blocks:
        raise ModelError(
            f"bottleneck adapters cannot be placed in {type(model).__name__}",
            "No block has both an attention module and, outside it, a linear projection to "
            f"{hidden_size} features.",
            "Use another strategy.",
        )
    return [attention[block] for block in blocks], [mlp[block] for block in blocks]


class BottleneckModel(BaseTuner):
    """A model with bottleneck adapters after its output projections.

    Made by ``peft.get_peft_model(model, BottleneckConfig(...))``. Source: Houlsby et al. 2019
    (arXiv:1902.00751), except that the model's own layer norms stay frozen: without the adapters it
    is the base model.
    """

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    # PEFT's table of target modules by model type: empty, since they are found by structure.
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _prepare_adapter_config(
        self, peft_config: BottleneckConfig, model_config: dict[str, Any]
    ) -> BottleneckConfig:
        if peft_config.target_modules is None:
            width = self.model.config.get_text_config().hidden_size
            attention, mlp = find_sites(self.model, width)
            adapts_attention = peft_config.placement == "houlsby"
            peft_config.target_modules = {*mlp, *(attention if adapts_attention else ())}
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
        layer = BottleneckLayer(target, adapter_name, peft_config)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> NoReturn:
        raise UsageError(
            "a bottleneck adapter cannot be merged into the base model",
            "It changes a projection's output by a non-linear function, which no weights can do.",
            "Keep base model and adapter apart, or use LoRA where one merged model is needed.",
            code="no-merge",
        )


# ``register_peft_method`` accepts only members of PEFT's ``PeftType``, which cannot be extended.
# The three dictionaries that loading, saving and wrapping read can.
mapping.PEFT_TYPE_TO_CONFIG_MAPPING[BottleneckType.BOTTLENECK] = BottleneckConfig
mapping.PEFT_TYPE_TO_TUNER_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel
mapping.PEFT_TYPE_TO_PREFIX_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel.prefix
