from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import (
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import Tensor

from sweeper.tasks.sequences.answer_likelihoods import (
    AnswerTree,
    _scores_one_by_one,
    log_likelihoods,
    shareable,
)

# Names that share beginnings, names of one token, and an end-of-turn token (9) after each.
ANSWERS = [[1, 2, 3, 9], [1, 2, 9], [1, 4, 9], [5, 9], [6, 2, 3, 9], [9]]


def _prompts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(10, 500, (5, 11), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([11, 4, 7, 1, 9])
    mask = (torch.arange(11) < lengths[:, None]).long()
    return ids, mask


def _lora(model: Any) -> Any:
    transposed = model.config.model_type == "gpt2"
    config = LoraConfig(
        task_type="CAUSAL_LM", r=2, init_lora_weights=False, fan_in_fan_out=transposed
    )
    return get_peft_model(model, config)


def _prefix(model: Any) -> Any:
    return get_peft_model(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))


def _p_tuning(model: Any) -> Any:
    config = PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=16
    )
    return get_peft_model(model, config)


def _prompt(model: Any) -> Any:
    return get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))


def _plain(model: Any) -> Any:
    return model


# PEFT asks transformers by names that transformers deprecates.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("strategy", [_plain, _lora, _prefix, _p_tuning, _prompt])
def test_reading_answers_together_equals_reading_each_alone(
    strategy: Callable[[Any], Any], language_model: Any
) -> None:
    model = strategy(language_model).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora" in name or "prompt_encoder" in name:
                weight.normal_(std=0.5)
    ids, mask = _prompts()
    tree = AnswerTree(ANSWERS)

    with torch.no_grad():
        assert shareable(model, 20)
        together = log_likelihoods(model, tree, ids, mask)
        alone = _scores_one_by_one(model, tree, ids, mask)

    assert together.shape == (5, 6)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert alone.std() > 0.1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_gives_the_same(attention: str, llama: Any) -> None:
    llama.set_attn_implementation(attention)
    ids, mask = _prompts()
    tree = AnswerTree(ANSWERS)

    with torch.no_grad():
        together = log_likelihoods(llama, tree, ids, mask)

        torch.testing.assert_close(
            together, _scores_one_by_one(llama, tree, ids, mask), rtol=1e-4, atol=1e-4
        )


def test_a_window_that_the_prompt_does_not_fit_is_read_one_by_one(llama: Any) -> None:
    llama.config.sliding_window = 16

    assert shareable(llama, 15)
    assert not shareable(llama, 16)


def test_equal_beginnings_are_read_once() -> None:
    tree = AnswerTree(ANSWERS)

    # Read: 1, 5, 6, then 1 2, 1 4, 6 2, then 1 2 3, 6 2 3; never the last token of an answer.
    assert tree.tokens.tolist() == [1, 5, 6, 2, 4, 2, 3, 3]
    assert tree.depths.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert tree.visible[6].tolist() == [True, False, False, True, False, False, True, False]
    assert tree.uses.sum(0).tolist() == [len(answer) for answer in ANSWERS]


def test_answers_of_one_token_take_no_second_reading(llama: Any) -> None:
    ids, mask = _prompts()
    tree = AnswerTree([[3], [4]])

    with torch.no_grad():
        together = log_likelihoods(llama, tree, ids, mask)

        torch.testing.assert_close(
            together, _scores_one_by_one(llama, tree, ids, mask), rtol=1e-4, atol=1e-4
        )
