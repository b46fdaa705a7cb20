"""Chooses texts that represent all texts, by clusters of a base model's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from tokenizers import Tokenizer
from torch import nn

from sweeper.features.quality.rows import SpreadRequest, SpreadRows
from sweeper.tasks.classification import pool
from sweeper.tasks.task import padded
from sweeper.training.base_model.base_lender import load_base

Embeddings = NDArray[np.float32]

MAX_TOKENS = 256
"""Tokens that the model reads from the start of a text."""

_BATCH_ROWS = 8


def embedded(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> Embeddings:
    """The mean of each text's last hidden states, shape ``(texts, width)``, with norm 1."""
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    rows = [row.ids or [0] for row in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    device = next(model.parameters()).device
    embeddings: list[Embeddings] = [np.empty(0, np.float32)] * len(rows)
    for start in range(0, len(order), _BATCH_ROWS):
        part = order[start : start + _BATCH_ROWS]
        ids = padded([rows[n] for n in part], 0).to(device)
        mask = padded([[1] * len(rows[n]) for n in part], 0)
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask.to(device)).last_hidden_state
        for n, row in zip(part, pool(states.cpu(), mask, "mean").numpy(), strict=True):
            embeddings[n] = row / max(float(np.linalg.norm(row)), 1e-12)
    return np.stack(embeddings)


def spread(embeddings: Embeddings, count: int) -> list[int]:
    """Indexes of the rows nearest to the centres of ``count`` clusters, each row once."""
    clusters = MiniBatchKMeans(count, n_init=1, max_iter=20, batch_size=2048, random_state=0)
    return [int(n) for n in np.unique(clusters.fit_transform(embeddings).argmin(axis=0))]


def choose(request: SpreadRequest) -> SpreadRows:
    """Choose at most ``request.count`` texts."""
    folder = Path(request.folder)
    gpu = torch.cuda.is_available()
    dtype, device = torch.bfloat16 if gpu else torch.float32, torch.device("cuda" if gpu else "cpu")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = load_base(folder, "FEATURE_EXTRACTION", dtype, device)
    embeddings = embedded(model, tokenizer, request.texts)
    return SpreadRows(chosen=tuple(spread(embeddings, request.count)))
