"""Prediction against a plain loop of transformers with batches of like lengths.

Usage: ``python -m benchmarks.predict WEIGHTS ROWS.jsonl``: a classifier on one base without
virtual tokens, and rows with a column ``text``. Both sides tokenise, sort by length and end in
probabilities; each runs five times in turn and its fastest time counts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import sweeper
from sweeper.tasks.classifier import Classifier

BATCH, ROUNDS = 32, 5


def plain(model: sweeper.Model, texts: list[str]) -> list[list[float]]:
    """What a script would do by hand."""
    body, tokenizer = model.model, model.tokenizer
    assert isinstance(body, Classifier)
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
    found: list[list[float]] = [[] for _ in texts]
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        batch = tokenizer(
            [texts[place] for place in places],
            truncation=True,
            max_length=model.record.sequence_length,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = body.base(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (states * mask).sum(1) / mask.sum(1)
            shares = body.head(pooled).softmax(1).tolist()
        for place, row in zip(places, shares, strict=True):
            found[place] = row
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print both times and their ratio."""
    model = sweeper.load(sys.argv[1])
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    both = [
        (
            seconds(lambda: model.predict(texts, batch_size=BATCH)),
            seconds(lambda: plain(model, texts)),
        )
        for _ in range(ROUNDS)
    ]
    ours, theirs = (min(times) for times in zip(*both, strict=True))
    print(f"{len(texts)} texts: sweeper {ours:.2f} s, plain loop {theirs:.2f} s")
    print(f"sweeper is {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
