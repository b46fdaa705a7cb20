"""Optimizer groups: rates, weight decay and who gets none; how deep a weight lies."""

import pytest
from torch import nn

from sweeper.strategies.full import Full
from sweeper.strategies.strategy import Setting, layers_above
from sweeper.tasks.classification import Classifier


@pytest.fixture
def classifier(tiny_base) -> nn.Module:
    base = Full().apply(tiny_base("bert"), {}, Setting("FEATURE_EXTRACTION"))
    return Classifier(base, "mean", 64, 3)


def groups_of(model, **parameters):
    head = {"head.weight", "head.bias"}
    groups = Full().parameter_groups(model, {"learning_rate": 1e-3} | parameters, head)
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        names[id(weight)]: (group["lr"], group["weight_decay"])
        for group in groups
        for weight in group["params"]
    }


def test_every_trained_weight_is_in_exactly_one_group(classifier):
    classifier.base.embeddings.requires_grad_(False)
    groups = Full().parameter_groups(classifier, {"learning_rate": 1e-3})
    grouped = [id(weight) for group in groups for weight in group["params"]]
    trained = [id(weight) for weight in classifier.parameters() if weight.requires_grad]
    assert sorted(grouped) == sorted(trained)


def test_matrices_decay_and_vectors_do_not(classifier):
    found = groups_of(classifier, weight_decay=0.1)
    assert found["base.encoder.layer.0.output.dense.weight"] == (1e-3, 0.1)
    assert found["base.embeddings.word_embeddings.weight"] == (1e-3, 0.1)
    assert found["base.encoder.layer.0.output.dense.bias"] == (1e-3, 0.0)
    assert found["base.encoder.layer.0.output.LayerNorm.weight"] == (1e-3, 0.0)


def test_a_head_has_its_own_rate_or_the_bodys(classifier):
    assert groups_of(classifier, head_learning_rate=1e-2)["head.weight"] == (1e-2, 0.0)
    assert groups_of(classifier)["head.weight"] == (1e-3, 0.0)


def test_layerwise_decay_lowers_the_rate_downwards_but_not_of_the_head(classifier):
    found = groups_of(classifier, layerwise_lr_decay=0.5, head_learning_rate=1e-2)
    rates = [
        found[name][0]
        for name in (
            "base.embeddings.word_embeddings.weight",
            "base.encoder.layer.0.output.dense.weight",
            "base.encoder.layer.1.output.dense.weight",
            "head.weight",
        )
    ]
    assert rates == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-2])


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
