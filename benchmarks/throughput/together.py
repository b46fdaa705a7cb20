"""CPU seconds of a round of four LoRA trials on one base: mixed in one batch, and one by one.

python -m benchmarks.throughput.together
"""

import statistics
import time

import torch
from torch import nn
from transformers import BertConfig, BertModel

TRIALS, RANK, ROWS, TOKENS, ROUNDS = 4, 8, 8, 24, 15


class Adapted(nn.Module):
    """A frozen linear layer with one adapter for each equal part of the batch."""

    def __init__(self, base: nn.Linear, adapters: int) -> None:
        super().__init__()
        self.base, self.adapters = base, adapters
        self.down = nn.Parameter(torch.randn(adapters, base.in_features, RANK) / RANK)
        self.up = nn.Parameter(torch.zeros(adapters, RANK, base.out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = x.reshape(self.adapters, -1, x.shape[-1]) @ self.down @ self.up
        return self.base(x) + added.view(*x.shape[:-1], -1)


def step(adapters: int) -> float:  # a training step on ROWS texts for each adapter
    config = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
    model = BertModel(config, add_pooling_layer=False).requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if name.endswith(("query", "key", "value", "output.dense", "intermediate.dense")):
            model.set_submodule(name, Adapted(layer, adapters))
    trained = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    tokens = torch.randint(1000, (ROWS * adapters, TOKENS))
    start = time.process_time()
    model(tokens).last_hidden_state.square().mean().backward()
    trained.step()
    return time.process_time() - start


apart, together = [], []
for _ in range(ROUNDS + 1):
    apart.append(sum(step(1) for _ in range(TRIALS)))
    together.append(step(TRIALS))
ratio = statistics.median(t / a for t, a in zip(together[1:], apart[1:], strict=True))
print(f"{statistics.median(apart[1:]):.3f} s one by one; together {ratio:.2f} of that")
