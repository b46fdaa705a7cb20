from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sweeper.data.examples import Example
from sweeper.features.pretraining._task import Corpus, collate_packed, pack

TEXTS = [
    "The quick brown fox.",
    "What is the capital of France? The capital of France is Paris. " * 4,
    "Dogs.",
]
DOCUMENTS = [Example(f"k{line}", line, text=text) for line, text in enumerate(TEXTS, 1)]
TOKENS = [list(range(10, 22)), [30, 31, 32, 33, 34], list(range(50, 59)), [70, 71, 72]]


@pytest.fixture
def task(make_task: Callable[..., Any]) -> Any:
    return make_task(Corpus, {"train": DOCUMENTS}, cap=24)


def test_blocks_hold_all_documents_with_their_ends(task: Any) -> None:
    blocks = task.blocks(DOCUMENTS)

    ends = sum(block["input_ids"].count(task.tokenizer.eos_token_id) for block in blocks)
    whole = sum(len(task.encode_one(document).ids) for document in DOCUMENTS)
    assert ends == len(DOCUMENTS)
    assert sum(len(block["input_ids"]) for block in blocks) == whole
    assert max(len(block["input_ids"]) for block in blocks) <= 24


def test_loss_and_tokens_of_a_batch_of_blocks(task: Any, llama: Any) -> None:
    blocks = task.blocks(DOCUMENTS)
    batch = task.collate(blocks)

    with torch.no_grad():
        together = task.loss(llama, batch)
        apart = [task.loss(llama, task.collate([block])) for block in blocks]

    assert task.loss_terms(batch) == sum(task.loss_terms(task.collate([block])) for block in blocks)
    assert float(together.total) == pytest.approx(
        sum(float(loss.total) for loss in apart), rel=1e-5
    )
    assert task.tokens(batch) == sum(len(block["input_ids"]) for block in blocks)


def test_single_documents_are_scored_by_their_beginnings(task: Any, llama: Any) -> None:
    features = task.encode(DOCUMENTS)

    scores = task.score(llama, task.collate(features))

    assert [len(feature["input_ids"]) for feature in features][1] == 24
    assert scores.weights.tolist() == [len(f["input_ids"]) - 1 for f in features]
    (note,) = task.notes(features, "train")
    assert note.text == "train: 1 of 3 texts lost their end, after 24 tokens"
    assert 0 < int(scores.outputs["answer_bytes"][1]) < len(TEXTS[1])


def test_packed_documents_have_the_losses_that_they_have_alone(language_model: Any) -> None:
    blocks = pack(TOKENS, 16)
    batch = collate_packed(blocks, padding=0)
    assert len(blocks) == 2

    with torch.no_grad():
        logits = language_model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
        packed = cross_entropy(
            logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], reduction="none"
        )
        alone = []
        for document in TOKENS:
            ids = torch.tensor([document])
            alone.append(
                cross_entropy(language_model(ids).logits[0, :-1], ids[0, 1:]) * (ids.shape[1] - 1)
            )

    seen = packed[batch["labels"][:, 1:] != -100]
    assert len(seen) == sum(len(document) - 1 for document in TOKENS)
    torch.testing.assert_close(seen.sum(), torch.stack(alone).sum(), rtol=1e-5, atol=1e-4)


def test_changing_one_document_changes_no_other(language_model: Any) -> None:
    def losses(first: list[int]) -> torch.Tensor:
        batch = collate_packed(pack([first, *TOKENS[1:2]], 32), padding=0)
        with torch.no_grad():
            logits = language_model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
            ).logits
        return logits[0, 12:17]

    torch.testing.assert_close(losses(list(range(10, 22))), losses(list(range(90, 102))))


def test_every_token_is_packed_once_and_documents_begin_anew() -> None:
    blocks = pack(TOKENS, 16)

    tokens = sorted(token for block in blocks for token in block["input_ids"])
    assert tokens == sorted(token for document in TOKENS for token in document)
    assert sum(block["position_ids"].count(0) for block in blocks) == len(TOKENS)
    for block in blocks:
        for token, place, label in zip(
            block["input_ids"], block["position_ids"], block["labels"], strict=True
        ):
            assert label == (-100 if place == 0 else token)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(2, 16))
def test_blocks_are_never_longer_than_asked_and_lose_nothing(
    lengths: list[int], length: int
) -> None:
    blocks = pack([[number] * size for number, size in enumerate(lengths)], length)

    assert all(len(block["input_ids"]) <= length for block in blocks)
    assert sum(len(block["input_ids"]) for block in blocks) == sum(lengths)


def test_short_documents_share_blocks() -> None:
    assert len(pack([[1] * 4] * 4 + [[2] * 12] * 4, 16)) == 4


def test_padding_is_a_document_of_its_own() -> None:
    blocks = [
        {"input_ids": [5, 6], "position_ids": [0, 1], "labels": [-100, 6]},
        {"input_ids": [7], "position_ids": [0], "labels": [-100]},
    ]

    batch = collate_packed(blocks, padding=9)

    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["position_ids"].tolist() == [[0, 1], [0, 0]]
    assert batch["labels"].tolist() == [[-100, 6], [-100, -100]]
    assert batch["real_tokens"].tolist() == [2, 1]
