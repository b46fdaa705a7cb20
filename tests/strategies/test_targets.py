"""Target modules on any architecture, as PEFT will match them."""

import pytest
from peft.tuners.lora import LoraLayer

from sweeper.errors import ModelError
from sweeper.strategies.lora import LoRA
from sweeper.strategies.strategy import Setting
from sweeper.strategies.targets import linear_layers, needs_transpose, target_modules

LLAMA_ALL = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
CASES = [
    ("llama", "qv", ["q_proj", "v_proj"]),
    ("llama", "qkvo", ["k_proj", "o_proj", "q_proj", "v_proj"]),
    ("llama", "all-linear", LLAMA_ALL),
    ("llama", "up_proj, down_proj", ["down_proj", "up_proj"]),
    ("qwen2", "qv", ["q_proj", "v_proj"]),
    ("qwen2", "all-linear", LLAMA_ALL),
    ("phi3", "qv", ["qkv_proj"]),
    ("phi3", "qkvo", ["o_proj", "qkv_proj"]),
    ("phi3", "all-linear", ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]),
    ("gpt2", "qv", ["c_attn"]),
    ("gpt2", "qkvo", ["attn.c_proj", "c_attn"]),
    ("gpt2", "all-linear", ["c_attn", "c_fc", "c_proj"]),
    ("gpt_neox", "qv", ["query_key_value"]),
    ("gpt_neox", "qkvo", ["dense", "query_key_value"]),
    ("gpt_neox", "all-linear", ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"]),
    ("falcon", "qkvo", ["dense", "query_key_value"]),
    ("bloom", "qkvo", ["dense", "query_key_value"]),
    ("bert", "qv", ["query", "value"]),
    ("bert", "qkvo", ["attention.output.dense", "key", "query", "value"]),
    ("bert", "all-linear", ["dense", "key", "query", "value"]),
    ("modernbert", "qv", ["Wqkv"]),
    ("albert", "qkvo", ["dense", "key", "query", "value"]),
]


@pytest.mark.parametrize(("kind", "wish", "expected"), CASES)
def test_endings_are_the_shortest_that_hit_nothing_else(tiny_base, kind, wish, expected):
    assert target_modules(tiny_base(kind), wish) == expected


@pytest.mark.parametrize(
    ("kind", "wish", "a_layer"),
    [("bert", "qkvo", 4), ("gpt2", "qkvo", 2), ("llama", "all-linear", 7)],
)
def test_peft_puts_an_update_on_exactly_these_layers(tiny_base, kind, wish, a_layer):
    model = tiny_base(kind)
    before = set(linear_layers(model))
    parameters = {"r": 2, "lora_alpha": 2, "target_modules": wish}
    LoRA().apply(model, parameters, Setting("FEATURE_EXTRACTION"))
    hit = {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    assert len(hit) == 2 * a_layer
    assert hit <= before


@pytest.mark.parametrize(("kind", "conv1d"), [("gpt2", True), ("llama", False), ("bert", False)])
def test_only_gpt2_stores_weights_transposed(tiny_base, kind, conv1d):
    model = tiny_base(kind)
    assert needs_transpose(model, target_modules(model, "qv")) is conv1d


def test_unknown_layers_are_refused_with_the_names_that_there_are(tiny_base):
    with pytest.raises(ModelError, check=lambda error: error.code == "unknown-module"):
        target_modules(tiny_base("llama"), "w_pack")
