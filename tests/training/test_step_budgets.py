"""What a micro-batch of LoRA may cost besides its arithmetic, counted where kernels are called.

A GPU is idle where the host waits for one of its values, or takes longer to start a kernel than the
GPU takes to run it.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fake_card import Dispatched
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from sweeper.evaluation.evaluator import autocast
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.joined import BY_TEXT, INPUTS, pack_texts
from sweeper.tasks.task import padded

WIDTH = 64
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}
# Operations on a GPU whose result the host needs.
WAITS = {
    "aten._local_scalar_dense", "aten.nonzero", "aten.equal", "aten.masked_select",
    "aten.is_nonzero", "aten._unique2",
}  # fmt: skip
# Operations that start no kernel.
FREE = {
    "aten.view", "aten._unsafe_view", "aten.t", "aten.transpose", "aten.unsqueeze", "aten.squeeze",
    "aten.detach", "aten.expand", "aten.slice", "aten.select", "aten.split", "aten.alias",
    "aten.permute", "aten.as_strided", "aten.split_with_sizes", "aten.empty", "aten.empty_like",
}  # fmt: skip


class Calls(Dispatched):
    """Counts operations, those that the host waits for, and bytes of casts."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.waits = self.cast_bytes = 0
        self.names: Counter[str] = Counter()

    def after(self, function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        name = str(function).rpartition(".")[0]
        by_mask = name.startswith("aten.index") and any(
            isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool
            for leaf in tree_leaves(args[1:])
        )
        self.waits += name in WAITS or by_mask
        self.kernels += name not in FREE
        self.names[name] += 1
        if name == "aten._to_copy" and args[0].dtype != result.dtype:
            self.cast_bytes += args[0].nbytes + result.nbytes


def calls(layers: int, *, join: bool) -> Calls:
    """Those of a micro-batch, forwards and backwards, after a first one."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    base = LlamaForCausalLM(config).to(torch.bfloat16).requires_grad_(False)
    if join:
        base.set_attn_implementation(BY_TEXT)
    model = strategy_named("lora").apply(base, LORA, Setting("CAUSAL_LM", "bf16-mixed")).train()
    rows = [[*range(2, 2 + length)] for length in (9, 14, 5)]
    features = [{"input_ids": row, "labels": [-100, *row[1:]]} for row in rows]
    batch = pack_texts(features)
    if not join:
        ones = [[1] * len(row) for row in rows]
        labels = padded([feature["labels"] for feature in features], -100)
        batch = {"input_ids": padded(rows, 0), "attention_mask": padded(ones, 0), "labels": labels}
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    for mode in (Calls(), counted := Calls()):
        with mode, autocast(torch.device("cpu"), "bfloat16"):
            loss = answer_losses(model, inputs, batch["labels"]).sum()
        with mode:
            loss.backward()
        model.zero_grad()
    return counted


# Whether there is padding is asked twice of a padded batch.
@pytest.mark.parametrize(("join", "most"), [(True, 1), (False, 3)])
def test_the_host_waits_once_for_the_answers_of_a_micro_batch(join: bool, most: int) -> None:
    assert calls(2, join=join).waits == most


def test_a_layer_starts_no_more_kernels_than_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU, where one kernel takes texts of several lengths.
    sequences = importlib.import_module("sweeper.tasks.sequences.joined")
    monkeypatch.setattr(sequences, "has_kernel", lambda _query: True)
    monkeypatch.setattr(sequences, "_KERNEL", lambda query, *_, **__: query * 1.0)
    two, three = calls(2, join=True), calls(3, join=True)
    assert three.kernels - two.kernels <= 170


def test_activations_are_not_widened_for_adapters() -> None:
    """Each weight of an adapter is narrowed once, and its gradient widened."""
    two, three = calls(2, join=True), calls(3, join=True)
    sizes = {"query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH // 2), "value": (WIDTH, WIDTH // 2),
             "output": (WIDTH, WIDTH), "gate": (WIDTH, 2 * WIDTH), "up": (WIDTH, 2 * WIDTH),
             "down": (2 * WIDTH, WIDTH)}  # fmt: skip
    adapters = sum(4 * (width + height) for width, height in sizes.values())
    tokens = 9 + 14 + 5
    # The weights, and the states in Llama's norms, which compute in float32: two norms, each there
    # and back, forwards and backwards.
    norms = 2 * 2 * 2 * tokens * WIDTH
    assert three.cast_bytes - two.cast_bytes <= 6 * (2 * adapters + norms)
