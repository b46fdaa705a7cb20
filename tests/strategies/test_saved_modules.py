"""Modules of the base that train whole: in float32, saved, loaded, and gone from the base after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.errors import ModelError
from sweeper.strategies.strategy import Setting, strategy

LORA = {"r": 2, "lora_alpha": 4, "target_modules": "qv", "learning_rate": 1e-3}
CASES = [
    ("lora", "llama", "embed_tokens,lm_head"),
    ("lora", "bert", "word_embeddings"),
    ("adapter", "llama", "lm_head"),
]


def adapted(name: str, base: Any, modules: str, precision: Any = "bf16-mixed") -> Any:
    parameters = {**LORA, "reduction_factor": 4, "modules_to_save": modules}
    kind = "CAUSAL_LM" if hasattr(base, "lm_head") else "FEATURE_EXTRACTION"
    return strategy(name).apply(base, parameters, Setting(kind, precision))


def trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: w for name, w in model.named_parameters() if w.requires_grad}


@pytest.mark.parametrize(("name", "kind", "modules"), CASES)
def test_copies_train_and_the_base_is_itself_again(
    tiny_base: Any, name: str, kind: str, modules: str, tmp_path: Path
) -> None:
    base = tiny_base(kind).to(torch.bfloat16)
    before = {key: weight.clone() for key, weight in base.state_dict().items()}
    model = adapted(name, base, modules)
    copies = {key: w for key, w in trained(model).items() if "modules_to_save" in key}
    assert len(copies) == len(modules.split(","))
    assert {weight.dtype for weight in copies.values()} == {torch.float32}
    ids = torch.tensor([[3, 4, 5]])
    with torch.autocast("cpu", torch.bfloat16):
        output = model(input_ids=ids)[0]
        output.float().square().mean().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in copies.values())
    with torch.no_grad():
        for weight in copies.values():
            weight += 1.0
    strategy(name).save(model, tmp_path)
    again = strategy(name).remove(model)
    assert again is base
    after = base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    loaded = strategy(name).load(base, tmp_path)
    kept = {key: w for key, w in loaded.named_parameters() if "modules_to_save" in key}
    assert kept.keys() == copies.keys()
    assert all(torch.equal(kept[key], copies[key]) for key in kept)


def test_tied_embeddings_stay_tied(tiny_base: Any) -> None:
    base = tiny_base("qwen2")
    base.config.tie_word_embeddings = True
    base.tie_weights()
    model = adapted("lora", base, "embed_tokens", "fp32")
    tables = [key for key in trained(model) if "modules_to_save" in key]
    assert len(tables) == 1
    inside = model.get_base_model()
    assert (
        inside.lm_head.modules_to_save["default"].weight
        is inside.model.embed_tokens.modules_to_save["default"].weight
    )
    assert strategy("lora").remove(model) is base
    assert base.lm_head.weight is base.model.embed_tokens.weight


def test_a_module_that_is_not_there_is_named(tiny_base: Any) -> None:
    with pytest.raises(ModelError, check=lambda error: error.code == "unknown-module"):
        adapted("lora", tiny_base("llama"), "embed_token")


@pytest.mark.parametrize(
    ("wish", "count"), [(r".*\.0\..*\.[qv]_proj", 2), ("o_proj,up_proj", 4), ("all-linear", 14)]
)
def test_layers_are_targeted_by_name_or_pattern(tiny_base: Any, wish: str, count: int) -> None:
    base = tiny_base("llama")
    parameters = {**LORA, "target_modules": wish}
    model = strategy("lora").apply(base, parameters, Setting("CAUSAL_LM", "fp32"))
    assert sum("lora_A" in name for name in trained(model)) == count
