"""What a base model makes of rows: ``python -m sweeper.training.probes.row_scores``.

Reads ``{"folder": ..., "pairs": [[prompt, answer], ...]}`` on standard input and prints
``{"scores": [...]}``, how little each prompt tells of its answer; or reads ``{"folder": ...,
"texts": [...], "count": ...}`` and prints ``{"chosen": [...]}``, the places of so many texts that
are spread over all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy

from sweeper.errors import SweeperError
from sweeper.tasks.classifier import pool
from sweeper.training.base_model.keeper import load_base

Features = NDArray[np.float32]

LONGEST_TOKENS = 256
"""Tokens of a prompt (its last ones) and of an answer (its first ones) that are read at most."""

_BATCH = 8


def difficulties(
    model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]
) -> list[float]:
    """Loss of each answer after its prompt, divided by its loss without one.

    At 1 or more, the prompt tells the model nothing of the answer. 1 where the answer is empty.

    Source: Instruction-Following Difficulty, Li et al. 2024, arXiv:2308.12032, equation 4.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    answers = [_ids(tokenizer, answer)[:LONGEST_TOKENS] for _, answer in pairs]
    prompts = [_ids(tokenizer, f"{prompt}\n")[-LONGEST_TOKENS:] for prompt, _ in pairs]
    after = _losses(model, prompts, answers)
    alone = _losses(model, [[] for _ in pairs], answers)
    return [one / other if other else 1.0 for one, other in zip(after, alone, strict=True)]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _losses(model: nn.Module, before: list[list[int]], answers: list[list[int]]) -> list[float]:
    """Mean nats of each answer's tokens. The first one follows the start token, if there is one."""
    start = getattr(model.config, "bos_token_id", None)
    begin = [start if isinstance(start, int) else 0]
    rows = [begin + first + answer for first, answer in zip(before, answers, strict=True)]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    losses = [0.0] * len(rows)
    device = next(model.parameters()).device
    for at in range(0, len(order), _BATCH):
        part = order[at : at + _BATCH]
        width = max(len(rows[n]) for n in part)
        ids = torch.tensor([rows[n] + [0] * (width - len(rows[n])) for n in part], device=device)
        mask = torch.tensor([[1] * len(rows[n]) + [0] * (width - len(rows[n])) for n in part])
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits
        for place, n in enumerate(part):
            if count := len(answers[n]):
                said = logits[place, len(rows[n]) - count - 1 : len(rows[n]) - 1].float()
                true = ids[place, len(rows[n]) - count : len(rows[n])]
                losses[n] = float(cross_entropy(said, true))
    return losses


def embedded(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> Features:
    """The mean of each text's token states, ``(texts, width)``, of length 1."""
    tokenizer.enable_truncation(LONGEST_TOKENS)
    tokenizer.no_padding()
    rows = [one.ids or [0] for one in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    device = next(model.parameters()).device
    found: list[Features] = [np.empty(0, np.float32)] * len(rows)
    for at in range(0, len(order), _BATCH):
        part = order[at : at + _BATCH]
        width = max(len(rows[n]) for n in part)
        ids = torch.tensor([rows[n] + [0] * (width - len(rows[n])) for n in part], device=device)
        mask = torch.tensor([[1] * len(rows[n]) + [0] * (width - len(rows[n])) for n in part])
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask.to(device)).last_hidden_state
        for n, one in zip(part, pool(states.cpu(), mask, "mean").numpy(), strict=True):
            found[n] = one / max(float(np.linalg.norm(one)), 1e-12)
    return np.stack(found)


def spread(features: Features, count: int, seed: int = 0) -> list[int]:
    """Places of the rows nearest to the middles of ``count`` clusters; a row once."""
    clusters = MiniBatchKMeans(count, n_init=1, max_iter=20, batch_size=2048, random_state=seed)
    return [int(n) for n in np.unique(clusters.fit_transform(features).argmin(axis=0))]


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.read())
    folder = Path(request["folder"])
    gpu = torch.cuda.is_available()
    dtype, device = torch.bfloat16 if gpu else torch.float32, torch.device("cuda" if gpu else "cpu")
    answer: dict[str, object]
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        if "pairs" in request:
            model = load_base(folder, "CAUSAL_LM", dtype, device)
            answer = {"scores": difficulties(model, tokenizer, request["pairs"])}
        else:
            model = load_base(folder, "FEATURE_EXTRACTION", dtype, device)
            features = embedded(model, tokenizer, request["texts"])
            answer = {"chosen": spread(features, request["count"])}
        print(json.dumps(answer))
    except SweeperError as error:
        print(error.problems[0].what, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
