"""Pooling and the head."""

import pytest
import torch
from transformers import BertConfig, BertModel

from sweeper.tasks.classification import ClassificationHead, Classifier, pool

STATES = torch.arange(2 * 4 * 2).float().view(2, 4, 2)
RIGHT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
LEFT = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("pooling", "mask", "second"),
    [
        ("mean", RIGHT, [9.0, 10.0]),
        ("mean", LEFT, [13.0, 14.0]),
        ("cls", RIGHT, [8.0, 9.0]),
        ("cls", LEFT, [12.0, 13.0]),
        ("last", RIGHT, [10.0, 11.0]),
        ("last", LEFT, [14.0, 15.0]),
    ],
)
def test_padding_is_never_pooled(pooling, mask, second):
    assert pool(STATES, mask, pooling)[1].tolist() == second


def test_pooled_states_are_fp32():
    assert pool(STATES.bfloat16(), RIGHT, "mean").dtype == torch.float32


def test_virtual_tokens_in_front_are_not_pooled():
    class Longer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask):
            states = input_ids.unsqueeze(-1).float()
            front = torch.full((len(states), 3, 1), 100.0)
            return type("Output", (), {"last_hidden_state": torch.cat([front, states], 1)})

    model = Classifier(Longer(), "cls", 1, 2)
    inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2)}
    assert model.features(inputs).tolist() == [[5.0]]


def test_the_head_computes_in_fp32_under_autocast():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    base = BertModel(config, add_pooling_layer=False).eval()
    model = Classifier(base, "mean", 16, 3)
    inputs = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(**inputs).dtype == torch.float32


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_normalised_features_have_one_size_on_every_model(size):
    torch.manual_seed(0)
    features = size * (torch.randn(200, 64) + 0.5)
    features[:, :8] *= 50
    features[:, 8] = 7 * size
    head = ClassificationHead(64, 3, torch.device("cpu"))
    head.normalise(features)
    inputs = (features - head.center) * head.scale
    assert inputs.mean(0).abs().max() < 1e-3
    assert inputs.norm(dim=1).mean() == pytest.approx(4.75, rel=0.05)
    # The feature that never varied is no larger than the others, should it vary later.
    assert head.scale[8] == head.scale.max()


def test_features_that_hardly_differ_are_not_blown_up():
    torch.manual_seed(0)
    features = torch.randn(200, 64) + 30
    head = ClassificationHead(64, 3, torch.device("cpu"))
    head.normalise(features)
    assert (features * head.scale).norm(dim=1).mean() == pytest.approx(10.0, rel=0.01)


def test_a_head_can_become_a_layer_on_plain_features():
    torch.manual_seed(0)
    features = torch.randn(50, 8) * 3 + 4
    plain = torch.nn.Linear(8, 3)
    head = ClassificationHead(8, 3, torch.device("cpu"))
    head.normalise(features)
    head.set_logits(plain.weight, plain.bias)
    assert torch.allclose(head(features), plain(features), atol=1e-4)


def test_the_size_of_features_does_not_train():
    head = ClassificationHead(8, 3, torch.device("cpu"))
    assert {name for name, _ in head.named_parameters()} == {"weight", "bias"}
    assert head.state_dict().keys() == {"weight", "bias", "center", "scale"}
