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

# Values of ``init_lora_weights`` that move a part of the base's weights into the adapter.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
# Dtypes of weights to merge into. In bfloat16, the rounding error of merged weights is as large as
# that of an unmerged adapter (benchmarks/findings.md).
_MERGE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Share of the free main memory that copies of the base's weights may take while they are merged.
_COPY_SHARE = 0.5


class LoRA(PeftStrategy):
    """Low-rank adaptation, with rsLoRA, DoRA and LoRA+.

    The parameters are PEFT's, with these additions: ``target_modules`` may be ``qv``, ``qkvo``,
    ``all-linear``, names or a pattern; ``init_lora_weights`` may be ``default``; and
    ``loraplus_lr_ratio`` is the ratio of B's learning rate to A's (LoRA+, arXiv:2402.12354).
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
        uses = Counter(id(weight) for _, weight in named)
        # Merging into packed 4 bits would round, and into a tied weight change the embeddings.
        mergeable = all(w.dtype in _MERGE_DTYPES and uses[id(w)] == 1 for w in weights)
        copy_bytes = sum(weight.nbytes for weight in weights)
        copies_fit = copy_bytes <= _COPY_SHARE * psutil.virtual_memory().available
        if not (layers and mergeable and copies_fit and isinstance(adapted, PeftModel)):
            yield
            return
        copies = [weight.detach().to("cpu", copy=True) for weight in weights]
        adapted.merge_adapter()
        try:
            yield
        finally:
            adapted.unmerge_adapter()
            with torch.no_grad():  # merging and unmerging leave rounding errors
                for weight, copy in zip(weights, copies, strict=True):
                    weight.copy_(copy)

    def learning_rate(self, name: str, parameters: Parameters) -> float:
        ratio = float(parameters.get("loraplus_lr_ratio", 1.0)) if "lora_B" in name else 1.0
        return ratio * super().learning_rate(name, parameters)


def _initialisation(parameters: Parameters) -> Any:
    """The ``init_lora_weights`` of PEFT."""
    chosen = parameters.get("init_lora_weights", "default")
    return True if chosen in ("default", True) else chosen
