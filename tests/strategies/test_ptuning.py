from __future__ import annotations

import pytest
import torch

from sweeper.errors import UsageError
from sweeper.strategies.ptuning import PTuning
from sweeper.strategies.strategy import Setting
from sweeper.tasks.classification import Classifier


def trainable(tokens: int, inner: int, width: int = 64) -> int:
    return tokens * width + (width + 1) * inner + (inner + 1) * inner + (inner + 1) * width


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("llama", 64),
        ("qwen2", 64),
        ("gpt2", 64),
        ("gpt_neox", 64),
        ("phi3", 64),
        ("falcon", 64),
        ("bert", 64),
        ("albert", 32),
        ("modernbert", 64),
    ],
)
def test_contract(contract, kind, width):
    parameters = {"learning_rate": 1e-2, "num_virtual_tokens": 5, "encoder_hidden_size": 16}
    contract.check("ptuning", kind, parameters, trainable(5, 16, width))


def test_contract_on_a_classifiers_decoder_and_under_checkpointing(contract):
    parameters = {"learning_rate": 1e-2, "num_virtual_tokens": 5, "encoder_hidden_size": 16}
    contract.check(
        "ptuning",
        "llama",
        parameters,
        trainable(5, 16),
        task_type="FEATURE_EXTRACTION",
        gradient_checkpointing=True,
    )


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_virtual_tokens_are_not_pooled(tiny_base, batch, kind, pooling):
    """Of a padded text, the classifier sees the same as of the text alone."""
    base = tiny_base(kind, "FEATURE_EXTRACTION")
    setting = Setting("FEATURE_EXTRACTION")
    model = PTuning().apply(base, {"num_virtual_tokens": 4}, setting).eval()
    assert model(**batch).last_hidden_state.shape[1] == batch["input_ids"].shape[1] + 4
    classifier = Classifier(model, pooling, 64, 3)
    together = classifier.features(batch)
    alone = classifier.features({name: tensor[1:2, :6] for name, tensor in batch.items()})
    torch.testing.assert_close(together[1:2], alone)
    prompts = model.get_prompt(1)
    embedded = base.get_input_embeddings()(batch["input_ids"][:1])
    states = base(inputs_embeds=torch.cat([prompts, embedded], 1)).last_hidden_state[0, 4:]
    expected = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
    torch.testing.assert_close(together[0], expected)


def test_encoder_is_as_wide_as_the_embeddings_unless_said(tiny_base):
    model = PTuning().apply(tiny_base("llama"), {"num_virtual_tokens": 3}, Setting("CAUSAL_LM"))
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == trainable(3, 64)


def test_more_tokens_than_the_model_has_positions_are_refused(tiny_base):
    with pytest.raises(UsageError, match="64"):
        PTuning().apply(tiny_base("llama"), {"num_virtual_tokens": 64}, Setting("CAUSAL_LM"))
