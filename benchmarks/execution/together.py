"""What training several LoRA trials on one base in one batched forward could gain at most.

K trials side by side cost one step of K times the examples at best; one after the other they cost K
steps. Their ratio, measured in turn with one adapter, bounds what adapters side by side could gain:
each of them adds work of its own.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import AutoModel

from sweeper.facts.model import model_folder
from sweeper.training.base_model.weights import packaged_model


def adapted(name: str) -> nn.Module:
    """The packaged model with LoRA on all linear layers."""
    folder = model_folder(f"packaged:{name}") or packaged_model(name)
    base = AutoModel.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear"))
    model.train()
    return model


def step_seconds(model: nn.Module, rows: int, length: int) -> float:
    """One forward and backward pass."""
    ids = torch.randint(10, 1000, (rows, length))
    start = time.perf_counter()
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean().backward()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.together")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    table = Table(title="two and four trials side by side: the most that one forward could gain")
    for column in ("model", "rows a trial", "tokens a row", "one, s", "gain of 2", "gain of 4"):
        table.add_column(column, justify="right")
    for name, rows, length in (("minilm", 8, 24), ("minilm", 16, 24), ("smollm2", 8, 128)):
        model = adapted(name)
        step_seconds(model, rows, length)
        laps = [[step_seconds(model, k * rows, length) for k in (1, 2, 4)]
                for _ in range(args.rounds)]  # fmt: skip
        one = median(lap[0] for lap in laps)
        gains = [median(k * lap[0] / lap[i] for lap in laps) for i, k in ((1, 2), (2, 4))]
        cells = [name, str(rows), str(length), f"{one:.3f}", *(f"{gain:.2f}" for gain in gains)]
        table.add_row(*cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
