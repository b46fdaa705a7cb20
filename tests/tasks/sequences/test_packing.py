from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sweeper.tasks.sequences.packing import collate_packed, pack

DOCUMENTS = [list(range(10, 22)), [30, 31, 32, 33, 34], list(range(50, 59)), [70, 71, 72]]


def test_packed_documents_have_the_losses_that_they_have_alone(language_model: Any) -> None:
    blocks = pack(DOCUMENTS, 16)
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
        for document in DOCUMENTS:
            ids = torch.tensor([document])
            alone.append(
                cross_entropy(language_model(ids).logits[0, :-1], ids[0, 1:]) * (ids.shape[1] - 1)
            )

    seen = packed[batch["labels"][:, 1:] != -100]
    assert len(seen) == sum(len(document) - 1 for document in DOCUMENTS)
    torch.testing.assert_close(seen.sum(), torch.stack(alone).sum(), rtol=1e-5, atol=1e-4)


def test_changing_one_document_changes_no_other(language_model: Any) -> None:
    def losses(first: list[int]) -> torch.Tensor:
        batch = collate_packed(pack([first, *DOCUMENTS[1:2]], 32), padding=0)
        with torch.no_grad():
            logits = language_model(
                input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
            ).logits
        return logits[0, 12:17]

    torch.testing.assert_close(losses(list(range(10, 22))), losses(list(range(90, 102))))


def test_every_token_is_packed_once_and_documents_begin_anew() -> None:
    blocks = pack(DOCUMENTS, 16)

    tokens = sorted(token for block in blocks for token in block["input_ids"])
    assert tokens == sorted(token for document in DOCUMENTS for token in document)
    assert sum(block["position_ids"].count(0) for block in blocks) == len(DOCUMENTS)
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
