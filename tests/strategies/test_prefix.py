from __future__ import annotations

import pytest
import torch

from sweeper.errors import UsageError
from sweeper.strategies import prefix
from sweeper.strategies.prefix import Prefix
from sweeper.strategies.strategy import Setting

# Key-value heads x head width.
KV = {"llama": 32, "qwen2": 32, "phi3": 32, "gpt2": 64, "gpt_neox": 64, "falcon": 16, "bloom": 64}


def tokenizer(text: str) -> dict[str, list[int]]:
    return {"input_ids": [3 + ord(letter) % 90 for letter in text]}


@pytest.mark.parametrize("init", ["random", "zero", "text"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gpt_neox", "phi3", "falcon", "bloom"])
def test_contract(contract, kind, init):
    parameters = {"learning_rate": 1e-2, "num_virtual_tokens": 5, "prefix_init": init}
    trainable = 2 * 5 * 2 * KV[kind]
    contract.check("prefix", kind, parameters, trainable, tokenizer=tokenizer)


def test_contract_with_a_projection(contract):
    v, layers, d, e = 5, 2, 32, 8
    parameters = {"num_virtual_tokens": v, "prefix_projection": True, "encoder_hidden_size": e}
    trainable = v * d + (d + 1) * e + 2 * (e + 1) * layers * d
    contract.check("prefix", "llama", {"learning_rate": 1e-2} | parameters, trainable)


def test_contract_on_a_classifiers_base(contract):
    parameters = {"learning_rate": 1e-2, "num_virtual_tokens": 5}
    contract.check("prefix", "llama", parameters, 640, task_type="FEATURE_EXTRACTION")


def test_prefix_adds_no_token_states_and_rows_do_not_see_each_other(tiny_base, batch):
    base = tiny_base("llama", "FEATURE_EXTRACTION")
    model = Prefix().apply(base, {"num_virtual_tokens": 5}, Setting("FEATURE_EXTRACTION")).eval()
    together = model(**batch).last_hidden_state
    assert together.shape[1] == batch["input_ids"].shape[1]
    alone = model(**{name: tensor[1:2, :6] for name, tensor in batch.items()}).last_hidden_state
    torch.testing.assert_close(together[1:2, :6], alone)


def test_text_initialisation_equals_reading_the_text_first(tiny_base, batch, monkeypatch):
    monkeypatch.setattr(prefix, "START_TEXT", "hello")
    words = tokenizer("hello")["input_ids"]
    base = tiny_base("gpt2")
    ids = torch.cat([torch.tensor([words] * 3), batch["input_ids"]], 1)
    after_text = base(input_ids=ids).logits[:, len(words) :]
    parameters = {"num_virtual_tokens": 5, "prefix_init": "text"}
    model = Prefix().apply(base, parameters, Setting("CAUSAL_LM", tokenizer=tokenizer)).eval()
    torch.testing.assert_close(model(input_ids=batch["input_ids"]).logits, after_text)


def test_short_text_is_repeated(tiny_base, monkeypatch):
    monkeypatch.setattr(prefix, "START_TEXT", "ab")
    parameters = {"num_virtual_tokens": 7, "prefix_init": "text"}
    setting = Setting("CAUSAL_LM", tokenizer=tokenizer)
    model = Prefix().apply(tiny_base("llama"), parameters, setting)
    assert model.prompt_encoder["default"].embedding.weight.shape == (7, 2 * 2 * 32)


def test_base_keeps_its_mode(tiny_base):
    base = tiny_base("llama").train()
    Prefix().apply(base, {"num_virtual_tokens": 2}, Setting("CAUSAL_LM"))
    assert base.training


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_encoders_are_refused(tiny_base, kind):
    with pytest.raises(UsageError):
        Prefix().apply(tiny_base(kind), {"num_virtual_tokens": 5}, Setting("FEATURE_EXTRACTION"))


def test_all_that_is_wrong_is_said_at_once(tiny_base):
    parameters = {"num_virtual_tokens": 64, "prefix_projection": True, "prefix_init": "text"}
    with pytest.raises(UsageError) as caught:
        Prefix().apply(tiny_base("llama"), parameters, Setting("CAUSAL_LM"))
    said = str(caught.value)
    assert "num_virtual_tokens = 64" in said
    assert "prefix_init = 'text' with prefix_projection" in said


def test_pure_bf16_means_the_prefix_too(tiny_base):
    base = tiny_base("llama", dtype=torch.bfloat16)
    model = Prefix().apply(base, {"num_virtual_tokens": 5}, Setting("CAUSAL_LM", "bf16-pure"))
    assert {w.dtype for w in model.parameters() if w.requires_grad} == {torch.bfloat16}
