"""Bits per byte of texts under a base model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy

from sweeper.errors import ModelError
from sweeper.facts.dataset.domain_distance import Bits, BitsRequest
from sweeper.training.base_model.base_lender import load_base

MAX_TEXT_TOKENS = 512
"""Maximum tokens read of a text: a few hundred show how well a model knows it."""


def bits_per_byte(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Bits per UTF-8 byte of the texts, each scored by itself.

    Does not depend on the tokenizer, unlike nats per token. A text's first token is predicted
    from the model's BOS token, or not counted if the model has none.

    Raises:
        ModelError: No text has a token that can be predicted.
    """
    nats, size = 0.0, 0
    for text in texts:
        nats_of_text, bytes_of_text = _nats_and_bytes(model, tokenizer, text)
        nats, size = nats + nats_of_text, size + bytes_of_text
    if not size:
        raise ModelError("the texts are empty or one token long, so nothing is predicted")
    return nats / math.log(2) / size


def _nats_and_bytes(model: Any, tokenizer: Tokenizer, text: str) -> tuple[float, int]:
    """Nats of one text, and the number of its predicted bytes."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    ids, spans = encoding.ids[:MAX_TEXT_TOKENS], encoding.offsets[:MAX_TEXT_TOKENS]
    if not ids:
        return 0.0, 0
    bos_token = getattr(model.config, "bos_token_id", None)
    first_character = 0 if isinstance(bos_token, int) else spans[0][1]
    row = torch.tensor([[bos_token, *ids] if isinstance(bos_token, int) else ids])
    row = row.to(next(model.parameters()).device)
    with torch.inference_mode():
        logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
    nats = float(cross_entropy(logits, row[0, 1:], reduction="sum")) if len(logits) else 0.0
    return nats, len(text[first_character : spans[-1][1]].encode())


def measure(request: BitsRequest) -> Bits:
    """Bits per byte of the data's texts and of general texts, and the seconds taken."""
    started, folder = time.perf_counter(), Path(request.folder)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    dtype = torch.bfloat16 if gpu else torch.float32
    model = load_base(folder, "CAUSAL_LM", dtype, device)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Bits(
        bits_per_byte=bits_per_byte(model, tokenizer, request.texts),
        general_bits_per_byte=bits_per_byte(model, tokenizer, request.general),
        bytes=sum(len(text.encode()) for text in (*request.texts, *request.general)),
        seconds=time.perf_counter() - started,
    )
