from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweeper.evaluation.objective_values import Sampling, generate, prompt_batch_size

STOP = 7
PROMPTS = [[10, 11], [12, 13, 14, 15, 16], [17], [18, 19, 20]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(64)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=f"w{STOP}")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def _greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == STOP:
            break
    return [token for token in ids[len(prompt) :] if token != STOP]


def _words(ids: list[int]) -> str:
    return " ".join(f"w{token}" for token in ids)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_answer_as_each_prompt_alone_would(
    batch_size: int, model: Any, tokenizer: Any
) -> None:
    answers = generate(model, tokenizer, PROMPTS, [STOP], max_new_tokens=8, batch_size=batch_size)

    assert answers == [[_words(_greedy(model, prompt, 8))] for prompt in PROMPTS]


def test_an_answer_ends_before_a_stop_token(model: Any, tokenizer: Any) -> None:
    first = _greedy(model, PROMPTS[1], 6)

    (answer,) = generate(model, tokenizer, [PROMPTS[1]], [first[2]], max_new_tokens=6)[0]

    assert answer == _words(first[: first.index(first[2])])


def test_sampling_is_the_same_in_every_run_and_differs_by_seed(model: Any, tokenizer: Any) -> None:
    def answers(seed: int) -> list[list[str]]:
        sampling = Sampling(temperature=1.0, samples=3, seed=seed)
        return generate(
            model, tokenizer, PROMPTS, [STOP], max_new_tokens=8, batch_size=2, sampling=sampling
        )

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = answers(0)

    assert [len(texts) for texts in first] == [3, 3, 3, 3]
    assert first == answers(0)
    assert first != answers(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("free", "expected"),
    # 2 x 2 bytes x 2 layers x 2 heads x 8 wide x 1,000 tokens: 128 kB a text, of a quarter.
    [(0, 8), (4 * 20 * 128_000, 20), (10**12, 64)],
)
def test_as_many_texts_are_written_at_a_time_as_a_gpu_has_room_for(
    monkeypatch: pytest.MonkeyPatch, model: Any, free: int, expected: int
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 10**12))
    assert prompt_batch_size(model, 1000, torch.device("cuda")) == expected
    assert prompt_batch_size(model, 1000, torch.device("cpu")) == 8
