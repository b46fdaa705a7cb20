"""What a strategy's file says of its untrained model is true of the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sweeper.planning.rulebook.rules import rule_book
from sweeper.strategies.base import Setting
from sweeper.strategies.discovery import strategy

PARAMETERS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": "qv"},
    "adapter": {"reduction_factor": 4, "adapter_dropout": 0.0},
    "prefix": {"num_virtual_tokens": 3},
    "ptuning": {"num_virtual_tokens": 3, "encoder_hidden_size": 8},
}
# Trained on a quantized base, which is as near to the base as its quantization; fits a head only.
NOT_COMPARED = {"qlora", "head"}


def test_every_strategy_is_compared_with_its_base() -> None:
    assert set(rule_book().strategies) == set(PARAMETERS) | NOT_COMPARED
    assert rule_book().strategies["qlora"].begins_as_base
    assert not rule_book().strategies["head"].begins_as_base


@pytest.mark.parametrize("name", PARAMETERS)
@torch.no_grad()
def test_an_untrained_model_is_the_base_model_where_the_file_says_so(
    tiny_base, batch, name: str
) -> None:
    expected = tiny_base("llama")(**batch).logits
    torch.manual_seed(1)
    setting = Setting("CAUSAL_LM")
    adapted = strategy(name).apply(tiny_base("llama"), PARAMETERS[name], setting).eval()
    logits = adapted(**batch).logits[:, -expected.shape[1] :]  # prompts may have some before
    apart = (logits - expected).abs().max() / expected.abs().max()
    same = bool(apart < 0.01)  # bottleneck adapters begin near the identity (Houlsby et al. 2019)
    assert same is rule_book().strategies[name].begins_as_base
