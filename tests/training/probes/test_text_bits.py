from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from sweeper.errors import ModelError  # noqa: E402
from sweeper.facts.dataset.domain_distance import BitsRequest  # noqa: E402
from sweeper.training.probes.text_bits import (  # noqa: E402
    MAX_TEXT_TOKENS,
    bits_per_byte,
    measure,
)

WORDS = ["<s>", "the", "cat", "sat", "ä", "?"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def model(begin: int | None = 0) -> LlamaForCausalLM:
    """A model whose output layer is zero, so that every token costs log2 of the vocabulary."""
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=1024, bos_token_id=begin,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        made.lm_head.weight.zero_()
    return made


def test_an_undecided_model_needs_the_same_for_every_token(tokenizer: Tokenizer) -> None:
    found = bits_per_byte(model(), tokenizer, ["the cat sat", "the"])
    assert found == pytest.approx(4 * math.log2(len(WORDS)) / (11 + 3), rel=1e-5)


def test_without_a_start_token_the_first_one_is_not_counted(tokenizer: Tokenizer) -> None:
    found = bits_per_byte(model(None), tokenizer, ["the cat sat"])
    assert found == pytest.approx(2 * math.log2(len(WORDS)) / 8, rel=1e-5)


def test_bytes_are_those_of_utf_8(tokenizer: Tokenizer) -> None:
    found = bits_per_byte(model(), tokenizer, ["ä"])
    assert found == pytest.approx(math.log2(len(WORDS)) / len("ä".encode()), rel=1e-5)


def test_long_texts_are_read_in_part(tokenizer: Tokenizer) -> None:
    short, long = (
        bits_per_byte(model(), tokenizer, [" ".join(["cat"] * count)])
        for count in (MAX_TEXT_TOKENS, 3 * MAX_TEXT_TOKENS)
    )
    assert short == pytest.approx(long)


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_texts_without_a_token_are_refused(tokenizer: Tokenizer, texts: list[str]) -> None:
    with pytest.raises(ModelError):
        bits_per_byte(model(), tokenizer, texts)


def test_a_request_is_answered(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model().save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    request = BitsRequest(folder=str(tmp_path), texts=("the cat",), general=("sat sat",))
    found = measure(request)
    assert found.bits_per_byte == pytest.approx(found.general_bits_per_byte)
    assert found.bytes == 14
    assert found.seconds > 0
