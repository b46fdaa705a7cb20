"""Full fine-tuning: every weight of the base model trains."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from sweeper.plans import Precision
from sweeper.strategies.loading import options_without_pooler, quiet_library
from sweeper.strategies.strategy import Parameters, Setting, Strategy


class Full(Strategy):
    """Trains all parameters, so all of them have gradients and optimizer states."""

    name = "full"
    saves_whole_model: ClassVar[bool] = True

    def apply(self, model: nn.Module, parameters: Parameters, setting: Setting) -> nn.Module:
        return model.requires_grad_(True)

    def remove(self, adapted: nn.Module) -> nn.Module:
        return adapted.requires_grad_(False)

    def changes_base(self, parameters: Parameters) -> bool:
        return True

    def base_dtype(self, precision: Precision) -> torch.dtype:
        return torch.bfloat16 if precision == "bf16-pure" else torch.float32

    def save(self, adapted: nn.Module, folder: Path) -> None:
        with quiet_library():
            adapted.save_pretrained(str(folder))

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        model_class = type(model)
        with quiet_library():
            trained: nn.Module = model_class.from_pretrained(
                str(folder),
                config=model.config,
                dtype=next(model.parameters()).dtype,
                local_files_only=True,
                **options_without_pooler(model_class),
            )
        trained.to(next(model.parameters()).device)
        return trained.requires_grad_(False).eval()
