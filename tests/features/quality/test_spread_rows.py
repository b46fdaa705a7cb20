from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from sweeper.features.quality._spread_rows import embedded, spread  # noqa: E402


def test_one_row_of_each_group_is_chosen() -> None:
    rng = np.random.default_rng(0)
    middles = np.eye(4, 8, dtype=np.float32)
    rows = np.concatenate([one + 0.01 * rng.normal(size=(9, 8)) for one in middles])
    chosen = spread(rows.astype(np.float32), 4)
    assert sorted(n // 9 for n in chosen) == [0, 1, 2, 3]
    assert spread(rows.astype(np.float32), 4) == chosen


class States(torch.nn.Module):  # type: ignore[misc]
    """A model whose token states are one-hot."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(5))

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return type("Output", (), {"last_hidden_state": self.weight[input_ids]})


def test_texts_become_the_mean_of_their_own_tokens() -> None:
    vocabulary = {word: index for index, word in enumerate(["?", "a", "b", "c", "d"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    found = embedded(States(), tokenizer, ["a a b b", "c", "a"])
    half = 0.5**0.5
    assert found == pytest.approx(
        np.array([[0, half, half, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]), abs=1e-6
    )
