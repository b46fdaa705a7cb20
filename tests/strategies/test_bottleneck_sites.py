from __future__ import annotations

import pytest
from torch import nn

from sweeper.errors import ModelError
from sweeper.strategies.bottleneck import find_sites


@pytest.mark.parametrize(
    ("kind", "attention", "mlp"),
    [
        ("llama", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"),
        ("qwen2", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"),
        ("phi3", "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj"),
        ("gpt2", "transformer.h.1.attn.c_proj", "transformer.h.1.mlp.c_proj"),
        ("gpt_neox", "gpt_neox.layers.1.attention.dense", "gpt_neox.layers.1.mlp.dense_4h_to_h"),
        ("falcon", "transformer.h.1.self_attention.dense", "transformer.h.1.mlp.dense_4h_to_h"),
        ("bloom", "transformer.h.1.self_attention.dense", "transformer.h.1.mlp.dense_4h_to_h"),
        ("bert", "encoder.layer.1.attention.output.dense", "encoder.layer.1.output.dense"),
        ("modernbert", "layers.1.attn.Wo", "layers.1.mlp.Wo"),
    ],
)
def test_output_projections_are_found_by_structure(tiny_base, kind, attention, mlp):
    in_attention, in_mlp = find_sites(tiny_base(kind), 64)
    assert len(in_attention) == len(in_mlp) == 2
    assert (in_attention[-1], in_mlp[-1]) == (attention, mlp)


def test_layers_that_share_weights_are_one_site(tiny_base):
    assert [len(names) for names in find_sites(tiny_base("albert"), 64)] == [1, 1]


def test_mixture_of_experts_is_refused_with_its_name(tiny_base):
    with pytest.raises(ModelError, check=lambda error: error.code == "mixture-of-experts"):
        find_sites(tiny_base("mixtral"), 64)


def test_model_without_blocks_is_refused():
    with pytest.raises(ModelError, match="64"):
        find_sites(nn.Sequential(nn.Linear(64, 64)), 64)
