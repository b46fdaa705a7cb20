"""How deep a weight lies."""

import pytest

from sweeper.strategies.depth import layers_above


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "llama",
            {
                "model.embed_tokens.weight": 2,
                "model.layers.0.mlp.up_proj.weight": 1,
                "model.layers.1.self_attn.q_proj.weight": 0,
                "model.norm.weight": 0,
                "lm_head.weight": 0,
            },
        ),
        (
            "bert",
            {
                "embeddings.word_embeddings.weight": 2,
                "embeddings.LayerNorm.bias": 2,
                "encoder.layer.0.output.dense.bias": 1,
                "encoder.layer.1.output.dense.bias": 0,
            },
        ),
        ("gpt2", {"transformer.wpe.weight": 2, "transformer.h.0.ln_1.weight": 1}),
    ],
)
def test_embeddings_lie_deepest_and_the_last_layer_on_top(tiny_base, kind, expected):
    model = tiny_base(kind)
    depth = layers_above(model)
    for name in expected:
        model.get_parameter(name)
    assert {name: depth(name) for name in expected} == expected
