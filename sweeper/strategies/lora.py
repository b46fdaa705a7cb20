"""LoRA: trains low-rank updates of chosen layers of a frozen base (arXiv:2106.09685)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import is_tied, modules_to_save, needs_transpose, target_modules

# Initialisations from the base's weights, which subtract the adapter's part from the base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
# Dtypes of weights to merge into. In bfloat16, merging rounds as much as an adapter beside its base
# does (benchmarks/findings.md).
_MERGE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Share of the free main memory that copies of the unmerged weights may take.
_COPY_SHARE = 0.5


class LoRA(PeftStrategy):
    """Low-rank adaptation, with rsLoRA, DoRA and LoRA+.

    Parameters: ``r``, ``lora_alpha``, ``lora_dropout``, ``target_modules`` (``qv``, ``qkvo``,
    ``all-linear``, names or a pattern), ``modules_to_save``, ``use_rslora`` (arXiv:2312.03732),
    ``use_dora`` (arXiv:2402.09353),
    ``init_lora_weights`` (``default`` or a name from PEFT) and ``loraplus_lr_ratio``: the ratio
    of B's learning rate to A's (LoRA+, arXiv:2402.12354).
    """

    name = "lora"

    def peft_config(self, model: nn.Module, parameters: Parameters, setting: Setting) -> PeftConfig:
        targets = target_modules(model, str(parameters["target_modules"]))
        saved = modules_to_save(model, parameters)
        return LoraConfig(
            task_type=setting.task_type,
            r=int(parameters["r"]),
            lora_alpha=int(parameters["lora_alpha"]),
            lora_dropout=float(parameters.get("lora_dropout", 0.0)),
            target_modules=targets,
            fan_in_fan_out=needs_transpose(model, targets),
            use_rslora=bool(parameters.get("use_rslora", False)),
            use_dora=bool(parameters.get("use_dora", False)),
            init_lora_weights=_initialisation(parameters),
            bias="none",
            modules_to_save=saved,
            ensure_weight_tying=is_tied(model, saved),
        )

    def changes_base(self, parameters: Parameters) -> bool:
        return str(_initialisation(parameters)).startswith(_CHANGES_BASE)

    def merge(self, adapted: nn.Module) -> nn.Module:
        merged: nn.Module = adapted.merge_and_unload(safe_merge=True)
        return merged

    @contextmanager
    def merged(self, adapted: nn.Module) -> Iterator[None]:
        layers = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
        weights = [layer.get_base_layer().weight for layer in layers]
        named = adapted.named_parameters(remove_duplicate=False)
        counts = Counter(id(weight) for _, weight in named)
        # Merging into packed 4 bits would round, and a tied weight would change the embeddings.
        is_dense = all(
            weight.dtype in _MERGE_DTYPES and counts[id(weight)] == 1 for weight in weights
        )
        copy_bytes = sum(weight.nbytes for weight in weights)
        copies_fit = copy_bytes <= _COPY_SHARE * psutil.virtual_memory().available
        if not (layers and is_dense and copies_fit and isinstance(adapted, PeftModel)):
            yield
            return
        copies = [weight.detach().to("cpu", copy=True) for weight in weights]
        adapted.merge_adapter()
        try:
            yield
        finally:
            adapted.unmerge_adapter()
            with torch.no_grad():  # merging and unmerging leaves rounding errors
                for weight, copy in zip(weights, copies, strict=True):
                    weight.copy_(copy)

    def learning_rate(self, name: str, parameters: Parameters) -> float:
        ratio = float(parameters.get("loraplus_lr_ratio", 1.0)) if "lora_B" in name else 1.0
        return ratio * super().learning_rate(name, parameters)


def _initialisation(parameters: Parameters) -> Any:
    chosen = parameters.get("init_lora_weights", "default")
    return True if chosen in ("default", True) else chosen
