"""LoRA: the base stays frozen, low-rank updates of chosen layers train (arXiv:2106.09685)."""

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

from sweeper.strategies.saved_modules import is_tied, modules_to_save
from sweeper.strategies.strategy import Parameters, PeftStrategy, Setting
from sweeper.strategies.targets import needs_transpose, target_modules

# These start from the base's own weights and subtract their part from them.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
# In bfloat16 a merged model is as far from one in float32 as an adapter beside its base is, since
# either rounds (benchmarks/findings.md).
_DENSE = (torch.float32, torch.bfloat16, torch.float16)
# Of the free main memory, for the weights as they were.
_COPY_SHARE = 0.5


class LoRA(PeftStrategy):
    """Low-rank adaptation, with rsLoRA, DoRA and LoRA+.

    Parameters: ``r``, ``lora_alpha``, ``lora_dropout``, ``target_modules`` (``qv``, ``qkvo``,
    ``all-linear``, names or a pattern), ``modules_to_save``, ``use_rslora`` (arXiv:2312.03732),
    ``use_dora`` (arXiv:2402.09353),
    ``init_lora_weights`` (``default`` or a name that PEFT knows) and ``loraplus_lr_ratio``: how
    much faster B learns than A (LoRA+, arXiv:2402.12354).
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
        layers = [part for part in adapted.modules() if isinstance(part, LoraLayer)]
        weights = [layer.get_base_layer().weight for layer in layers]
        named = adapted.named_parameters(remove_duplicate=False)
        uses = Counter(id(weight) for _, weight in named)
        # Packed in 4 bits a merged weight is another; a tied one is also the embeddings'.
        dense = all(weight.dtype in _DENSE and uses[id(weight)] == 1 for weight in weights)
        copies = sum(weight.nbytes for weight in weights)
        fits = copies <= _COPY_SHARE * psutil.virtual_memory().available
        if not (layers and dense and fits and isinstance(adapted, PeftModel)):
            yield
            return
        kept = [weight.detach().to("cpu", copy=True) for weight in weights]
        adapted.merge_adapter()
        try:
            yield
        finally:
            adapted.unmerge_adapter()
            with torch.no_grad():  # what was added and taken away again leaves rounding errors
                for weight, before in zip(weights, kept, strict=True):
                    weight.copy_(before)

    def learning_rate(self, name: str, parameters: Parameters) -> float:
        ratio = float(parameters.get("loraplus_lr_ratio", 1.0)) if "lora_B" in name else 1.0
        return ratio * super().learning_rate(name, parameters)


def _initialisation(parameters: Parameters) -> Any:
    chosen = parameters.get("init_lora_weights", "default")
    return True if chosen in ("default", True) else chosen
