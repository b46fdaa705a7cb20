"""Rows in three files, the answers of a model to them, and tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training_fixtures import (  # noqa: F401 - fixtures
    backend,
    byte_llama,
    kind,
    make_shared,
    model_folders,
    topics,
)

from tests.features.answers.answer_files import Row, chat_row, write


@pytest.fixture
def chat(here: Path) -> Callable[[Row], str]:
    """``chat/`` with questions, and a function that gives the right answer to a request."""
    right: dict[str, str] = {}
    for split, rows in (("train", 60), ("validation", 20), ("test", 25)):
        pairs = [(f"Which {split} number is {n}?", f"Number {n}.") for n in range(rows)]
        write(here / "chat" / f"{split}.jsonl", [chat_row(*pair) for pair in pairs])
        right.update(pairs)
    return lambda request: right[request["body"]["messages"][-1]["content"]]
