from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweeper.tasks.sequences.answer_logits import answer_losses, by_row


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
    assert seen == [(1, 14, 512), (3, 12, 512)]
    assert not llama.lm_head._forward_pre_hooks


def test_rows_have_the_mean_of_their_own_tokens() -> None:
    labels = torch.tensor([[-100, 1, 1], [-100, -100, -100], [-100, -100, 1]])

    means, counts = by_row(torch.tensor([1.0, 2.0, 5.0]), labels)

    assert means.tolist() == [1.5, 0.0, 5.0]
    assert counts.tolist() == [2, 0, 1]


def test_a_batch_without_answers_has_a_gradient_of_nothing(llama: Any) -> None:
    llama.requires_grad_(True)
    inputs, labels = _batch()

    losses = answer_losses(llama, inputs, torch.full_like(labels, -100))
    losses.sum().backward()

    assert len(losses) == 0
    assert not llama.lm_head.weight.grad.any()
