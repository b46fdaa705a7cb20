from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Gemma2Config

from sweeper.memory.layers import PLAIN_LOGITS
from sweeper.tasks.sequences import answer_logits
from sweeper.tasks.sequences.answer_logits import answer_losses, row_means


def _batch() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 512, (3, 12), generator=generator)
    mask = torch.ones_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (start, end) in enumerate([(4, 12), (2, 7), (8, 9)]):
        labels[row, start:end] = ids[row, start:end]
        mask[row, end:] = 0
    return {"input_ids": ids, "attention_mask": mask}, labels


def _from_all_logits(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    logits = model(**inputs, use_cache=False).logits[:, -labels.shape[1] :]
    wanted = labels[:, 1:] != -100
    return cross_entropy(logits[:, :-1][wanted], labels[:, 1:][wanted], reduction="none")


def test_they_are_those_of_the_whole_output(language_model: Any) -> None:
    inputs, labels = _batch()

    losses = answer_losses(language_model, inputs, labels)

    torch.testing.assert_close(losses, _from_all_logits(language_model, inputs, labels))


# PEFT asks transformers by names that transformers deprecates.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    ],
    ids=["lora", "virtual tokens in front"],
)
def test_an_adapter_around_the_model_does_not_matter(config: Any, llama: Any) -> None:
    model = get_peft_model(llama, config)
    inputs, labels = _batch()

    losses = answer_losses(model, inputs, labels)

    torch.testing.assert_close(losses, _from_all_logits(model, inputs, labels))
    losses.sum().backward()
    assert all(w.grad is not None for w in model.parameters() if w.requires_grad)


def test_the_output_layer_sees_the_answers_only_and_is_left_as_it_was(llama: Any) -> None:
    inputs, labels = _batch()
    seen: list[tuple[int, ...]] = []
    hook = llama.lm_head.register_forward_hook(lambda *call: seen.append(tuple(call[2].shape)))

    answer_losses(llama, inputs, labels)
    llama(**inputs)

    hook.remove()
    # One answer token whose logits the model returns, twice; then all answer tokens together.
    assert seen == [(1, 1, 512), (1, 512), (14, 512), (3, 12, 512)]
    assert not llama.lm_head._forward_pre_hooks


def test_rows_have_the_mean_of_their_own_tokens() -> None:
    labels = torch.tensor([[-100, 1, 1], [-100, -100, -100], [-100, -100, 1]])

    means, counts = row_means(torch.tensor([1.0, 2.0, 5.0]), labels)

    assert means.tolist() == [1.5, 0.0, 5.0]
    assert counts.tolist() == [2, 0, 1]


def test_a_batch_without_answers_has_a_gradient_of_nothing(llama: Any) -> None:
    llama.requires_grad_(True)
    inputs, labels = _batch()

    losses = answer_losses(llama, inputs, torch.full_like(labels, -100))
    losses.sum().backward()

    assert len(losses) == 0
    assert not llama.lm_head.weight.grad.any()


@pytest.mark.parametrize("half", [None, torch.bfloat16], ids=["float32", "autocast"])
def test_losses_in_parts_have_the_gradients_of_complete_logits(
    language_model: Any, half: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_logits, "LOSS_ROWS", 3)
    inputs, labels = _batch()
    leaves: list[Tensor] = []

    def needs_gradient(module: Any, arguments: Any, embedded: Tensor) -> Tensor:
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    language_model.get_input_embeddings().register_forward_hook(needs_gradient)
    above = torch.rand(int(labels.ne(-100).sum()))
    rows: list[int] = []
    layer = language_model.get_output_embeddings()
    layer.register_forward_hook(lambda *call: rows.append(call[2].shape[-2]))
    found = []
    for losses_of in (_from_all_logits, answer_losses):
        with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
            losses = losses_of(language_model, inputs, labels)
        found.append((losses.detach(), torch.autograd.grad(losses.float() @ above, leaves[-1])[0]))

    (losses, gradient), (theirs, other) = found
    exact = 1e-5 if half is None else 1e-2
    torch.testing.assert_close(theirs, losses.float(), rtol=exact, atol=exact)
    largest = float(gradient.abs().max())
    torch.testing.assert_close(other, gradient, rtol=exact, atol=exact * largest)
    assert max(rows[1:]) == 3


def test_a_model_that_caps_its_logits_is_found_out_and_has_them_all() -> None:
    config = Gemma2Config(
        **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
        **{"max_position_embeddings": 64, "initializer_range": 0.3, "final_logit_softcapping": 2.0},
    )
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    inputs, labels = _batch()
    expected = _from_all_logits(model, inputs, labels)
    for _ in range(2):
        torch.testing.assert_close(answer_losses(model, inputs, labels), expected)


@pytest.mark.parametrize("family", sorted(PLAIN_LOGITS))
def test_families_whose_memory_is_planned_without_logits_do_without_them(family: str) -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"intermediate_size": 16, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    experts = {"num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1}
    config = CONFIG_MAPPING[family](vocab_size=512, **size, **more, **experts)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    rows: list[int] = []
    layer = model.get_output_embeddings()
    layer.register_forward_hook(lambda *call: rows.append(call[2].numel() // 512))

    losses = answer_losses(model, *_batch())

    assert rows == [1, 1, len(losses)]  # in the model, to compare with it, and of all in parts


def test_float16_has_complete_logits_since_its_loss_is_scaled_afterwards(llama: Any) -> None:
    llama.get_input_embeddings().weight.requires_grad_()
    llama.lm_head.weight.requires_grad_(False)
    rows: list[int] = []
    llama.lm_head.register_forward_hook(lambda *call: rows.append(call[2].shape[-2]))
    for half, seen in ((torch.float16, [14]), (torch.bfloat16, [1, 1, 14])):
        rows.clear()
        with torch.autocast("cpu", half):
            answer_losses(llama, *_batch())
        assert rows == seen


def test_rows_are_summed_without_waiting_for_the_gpu() -> None:
    """A fake tensor has no values: whatever needs them on the host raises an error."""
    with FakeTensorMode():
        labels = torch.full((4, 9), 5)
        sums, counts = row_means(torch.rand(30), labels)
    assert (sums.shape, counts.shape) == ((4,), (4,))
