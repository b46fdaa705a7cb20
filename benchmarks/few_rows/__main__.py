"""Whether SetFit is better than a linear probe on the frozen model, with few rows of each class.

``python -m benchmarks.few_rows --data FOLDER`` trains packaged:minilm on rows of public data sets
and prints the accuracy of each method on 1,000 test rows.

Source: Tunstall et al. 2022, SetFit, arXiv:2209.11055, section 3 (pairs, cosine loss, a logistic
regression on the embeddings).
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import AutoModel, AutoTokenizer

from benchmarks import json_lines
from sweeper.facts.models.packaged import ready_folder

# Classes of each data set, by name; banking77 has more than a processor trains in minutes.
SETS = {"snips7": 7, "query_wellformed": 2, "banking77": 12}
ROWS, SEEDS, TEST_ROWS = (8, 16, 50), 3, 1000
# SetFit's defaults: a batch of 16 pairs, 20 pairs of each sort for a row, a rate of 2e-5. At most
# so many steps: the published code stops early as well where rows are many.
BATCH, PAIRS, RATE, STEPS = 16, 20, 2e-5, 400
# Full fine-tuning at the rates of the rule book for a model of this size.
FULL_RATE, HEAD_RATE, FULL_STEPS = 5e-5, 1e-2, 200


class Rows(NamedTuple):
    """Texts and the numbers of their classes."""

    texts: list[str]
    labels: list[int]


class Encoder:
    """The packaged model with the mean of its token vectors."""

    def __init__(self) -> None:
        folder = str(ready_folder("packaged:minilm"))
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors of texts, with gradients."""
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        return (hidden * mask).sum(1) / mask.sum(1)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, without gradients."""
        self.model.eval()
        with torch.no_grad():
            parts = [self(texts[i : i + 64]) for i in range(0, len(texts), 64)]
        return np.asarray(torch.cat(parts))


def pairs(train: Rows, rng: random.Random) -> Iterator[tuple[str, str, float]]:
    """Texts of one class and of two, so many of each sort for every row."""
    by_class: dict[int, list[str]] = defaultdict(list)
    for text, label in zip(train.texts, train.labels, strict=True):
        by_class[label].append(text)
    drawn = []
    for text, label in zip(train.texts, train.labels, strict=True):
        others = [other for other in by_class if other != label]
        for _ in range(PAIRS):
            drawn.append((text, rng.choice(by_class[label]), 1.0))
            drawn.append((text, rng.choice(by_class[rng.choice(others)]), 0.0))
    rng.shuffle(drawn)
    yield from drawn[: STEPS * BATCH]


def setfit(train: Rows, seed: int) -> Encoder:
    """The encoder after contrastive training."""
    encoder, rng = Encoder(), random.Random(seed)
    torch.manual_seed(seed)
    drawn = list(pairs(train, rng))
    steps = len(drawn) // BATCH
    optimizer, schedule = _adamw([{"params": encoder.model.parameters(), "lr": RATE}], steps)
    encoder.model.train()
    for step in range(steps):
        batch = drawn[step * BATCH : (step + 1) * BATCH]
        one, other = encoder([a for a, _, _ in batch]), encoder([b for _, b, _ in batch])
        wanted = torch.tensor([same for _, _, same in batch])
        alike = torch.nn.functional.cosine_similarity(one, other)
        _step(torch.nn.functional.mse_loss(alike, wanted), optimizer, schedule)
    return encoder


def full(train: Rows, seed: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Full fine-tuning with a new head; gives the classes of texts."""
    encoder, rng = Encoder(), random.Random(seed)
    torch.manual_seed(seed)
    head = torch.nn.Linear(encoder.model.config.hidden_size, max(train.labels) + 1)
    groups = [
        {"params": encoder.model.parameters(), "lr": FULL_RATE},
        {"params": head.parameters(), "lr": HEAD_RATE},
    ]
    optimizer, schedule = _adamw(groups, FULL_STEPS)
    encoder.model.train()
    order: list[int] = []
    for _ in range(FULL_STEPS):
        if len(order) < BATCH:
            order = rng.sample(range(len(train.texts)), len(train.texts)) + order
        chosen, order = order[:BATCH], order[BATCH:]
        logits = head(encoder([train.texts[i] for i in chosen]))
        labels = torch.tensor([train.labels[i] for i in chosen])
        _step(torch.nn.functional.cross_entropy(logits, labels), optimizer, schedule)

    def classes(texts: Sequence[str]) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(head(torch.from_numpy(encoder.vectors(texts))).argmax(-1))

    return classes


def probe(encoder: Encoder, train: Rows, test: Rows) -> float:
    """Accuracy of a logistic regression on the vectors."""
    fitted = LogisticRegression(max_iter=2000, C=10.0)
    fitted.fit(normalize(encoder.vectors(train.texts)), train.labels)
    return float(fitted.score(normalize(encoder.vectors(test.texts)), test.labels))


def _adamw(groups: list[dict[str, object]], steps: int) -> tuple[torch.optim.AdamW, LRScheduler]:
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    warmup = max(steps // 10, 1)
    return optimizer, LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(steps - step, 0) / steps + 0.1)
    )


def _step(loss: torch.Tensor, optimizer: torch.optim.AdamW, schedule: LRScheduler) -> None:
    loss.backward()
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()


def rows_of(folder: Path, classes: int, each: int, seed: int) -> tuple[Rows, Rows]:
    """So many train rows of each class, drawn by the seed, and test rows."""
    rows = json_lines.read(folder / "train.jsonl")
    names = sorted({row["label"] for row in rows})[:classes]
    rng = random.Random(seed)
    train = [
        row
        for name in names
        for row in rng.sample([row for row in rows if row["label"] == name], each)
    ]
    test = [row for row in json_lines.read(folder / "test.jsonl") if row["label"] in names]

    def as_rows(chosen: list[json_lines.Row]) -> Rows:
        return Rows([row["text"] for row in chosen], [names.index(row["label"]) for row in chosen])

    return as_rows(train), as_rows(test[:TEST_ROWS])


def main() -> None:
    """Print the accuracy of each method, and of SetFit beyond the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    asked = parser.parse_args()
    print("| set | rows a class | seed | probe | SetFit | full |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    for each in ROWS:
        for seed in range(SEEDS):
            for name, classes in SETS.items():
                train, test = rows_of(asked.data / name, classes, each, seed)
                frozen = probe(Encoder(), train, test)
                tuned = probe(setfit(train, seed), train, test)
                fine = float(np.mean(full(train, seed)(test.texts) == np.array(test.labels)))
                row = f"| {name} | {each} | {seed} | {frozen:.3f} | {tuned:.3f} | {fine:.3f} |"
                print(row, flush=True)


if __name__ == "__main__":
    main()
