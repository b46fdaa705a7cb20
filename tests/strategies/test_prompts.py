from __future__ import annotations

import pytest
import torch

from sweeper.errors import UsageError
from sweeper.strategies.strategy import Setting, strategy

STEPS = 4


def prompted(name, base, tokens=4):
    """A prompt as training could have left it: far from where it began."""
    setting = Setting("CAUSAL_LM")
    model = strategy(name).apply(base, {"num_virtual_tokens": tokens}, setting).eval()
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.normal_(0, 0.3, generator=generator)
    return model


def step_by_step(model, ids):
    """The likeliest continuation, read from the beginning for each of its tokens."""
    for _ in range(STEPS):
        following = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -1]
        ids = torch.cat([ids, following.argmax(-1, keepdim=True)], 1)
    return ids


def generated(model, **inputs):
    return model.generate(
        **inputs, max_new_tokens=STEPS, do_sample=False, pad_token_id=0, eos_token_id=None
    )


@pytest.mark.parametrize("name", ["prefix", "ptuning"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "falcon", "bloom"])
def test_generation_continues_prompt_and_input(tiny_base, batch, tmp_path, kind, name):
    model = prompted(name, tiny_base(kind))
    long, short = batch["input_ids"][:1], batch["input_ids"][1:2, :6]
    expected = [step_by_step(model, long), step_by_step(model, short)]
    assert torch.equal(generated(model, input_ids=long), expected[0])

    padding = torch.zeros(1, 3, dtype=torch.long)
    rows = {
        "input_ids": torch.cat([long, torch.cat([padding, short], 1)]),
        "attention_mask": torch.cat([long * 0 + 1, torch.cat([padding, short * 0 + 1], 1)]),
    }
    together = generated(model, **rows)
    assert torch.equal(together[:1], expected[0])
    assert torch.equal(together[1:, 3:], expected[1])

    strategy(name).save(model, tmp_path)
    loaded = strategy(name).load(tiny_base(kind), tmp_path)
    assert torch.equal(generated(loaded, **rows), together)


@pytest.mark.parametrize("name", ["prefix", "ptuning"])
def test_beams_are_refused(tiny_base, batch, name):
    model = prompted(name, tiny_base("llama"))
    with pytest.raises(UsageError):
        model.generate(input_ids=batch["input_ids"], num_beams=2)


@pytest.mark.parametrize("name", ["prefix", "ptuning"])
def test_prompt_counts_although_the_cache_is_switched_off(tiny_base, batch, name):
    base = tiny_base("llama")
    with torch.no_grad():
        before = base(**batch).logits
        model = prompted(name, base)
        implied = model(**batch).logits
        said = model(**batch, use_cache=False).logits
    assert torch.equal(said, implied)
    assert not torch.allclose(said[:, -9:], before)


@pytest.mark.parametrize("name", ["prefix", "ptuning"])
def test_base_generates_as_ever_after_the_prompt_is_gone(tiny_base, batch, name):
    base = tiny_base("llama")
    ids = batch["input_ids"][:1]
    before = generated(base, input_ids=ids)
    model = prompted(name, base)
    assert not torch.equal(generated(model, input_ids=ids), before)
    assert torch.equal(generated(strategy(name).remove(model), input_ids=ids), before)
