from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sweeper.data.examples import Example
from sweeper.tasks.corpus import Corpus

TEXTS = [
    "The quick brown fox.",
    "What is the capital of France? The capital of France is Paris. " * 4,
    "Dogs.",
]
DOCUMENTS = [Example(f"k{line}", line, text=text) for line, text in enumerate(TEXTS, 1)]


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

    assert together.weight == sum(loss.weight for loss in apart) == task.weight(batch)
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
    assert note.text == "train: 1 of 3 texts were cut after 24 tokens"
    assert 0 < int(scores.outputs["answer_bytes"][1]) < len(TEXTS[1])
