"""What a step of training may cost besides its arithmetic, counted where kernels are called.

A GPU is idle where the host waits for one of its values, or takes longer to start a kernel than the
GPU takes to run it.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_card import Dispatched
from torch.utils._pytree import tree_leaves
from torch.utils.data import SequentialSampler
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, LlamaModel

from sweeper.facts.record import TrainingSetup
from sweeper.features.forgetting._general_set import General
from sweeper.plans import Half
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classification
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT
from sweeper.training.loop.trainer import TrialTrainer, arguments
from sweeper.training.loop.training_progress import TrainingProgress

WIDTH = 64
SHAPE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 4, "pad_token_id": 0,
}  # fmt: skip
PARAMETERS: dict[str, Any] = {
    "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear",
    "num_virtual_tokens": 2, "encoder_hidden_size": 16, "learning_rate": 1e-3,
}  # fmt: skip
LENGTHS = (9, 14, 5)
# Optimizer steps, and the micro-batches of each.
STEPS, ACCUMULATION = 2, 2
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


class CountedTrainer(TrialTrainer):
    """The trainer of a trial; counts the calls of each micro-batch, and the waits for batches."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.micro_batches: list[Calls] = []
        self.waits_for_batches = 0

    def get_batch_samples(self, *arguments: Any) -> Any:
        with Calls() as counted:  # of batches in main memory
            batches = super().get_batch_samples(*arguments)
        self.waits_for_batches += counted.waits
        return batches

    def training_step(self, *arguments: Any) -> torch.Tensor:
        with Calls() as counted:
            loss = super().training_step(*arguments)
        self.micro_batches.append(counted)
        return loss


def trained(
    kind: str,
    *,
    join: bool = False,
    strategy: str = "lora",
    mixed: Half = "bfloat16",
    layers: int = 2,
) -> tuple[list[Calls], int]:
    """The calls of each micro-batch of a training, and how often the host waits besides.

    Args:
        kind: ``llama``, or ``llama`` or ``bert`` with a head for classes.
    """
    torch.manual_seed(0)
    tokenizer: Any = SimpleNamespace(pad_token_id=0, eos_token_id=1, bos_token_id=None)
    data: Any = SimpleNamespace(path="", splits={"train": []}, labels=("a", "b"))
    facts: Any = SimpleNamespace(pooling=None, kind="decoder", hidden_size=WIDTH)
    llama = LlamaConfig(**SHAPE, num_hidden_layers=layers, num_key_value_heads=2)
    count = len(LENGTHS) * STEPS * ACCUMULATION
    rows: list[dict[str, Any]] = [
        {"input_ids": [*range(2, 2 + LENGTHS[number % len(LENGTHS)])]} for number in range(count)
    ]
    if kind == "llama":
        base: Any = LlamaForCausalLM(llama)
        task: Any = General(data, tokenizer, facts, data, 32)
        for row in rows:
            row |= {"labels": [-100, *row["input_ids"][1:]], "answer_bytes": 1}
    else:
        bert = BertConfig(**SHAPE, num_hidden_layers=layers)
        base = BertModel(bert) if kind == "bert with a head" else LlamaModel(llama)
        task = Classification(data, tokenizer, facts, data, 32)
        for number, row in enumerate(rows):
            row["label"] = number % 2
    base = base.to(torch.bfloat16 if mixed == "bfloat16" else torch.float32).requires_grad_(False)
    if join:
        base.set_attn_implementation(ATTENTION_BY_TEXT)
    method = strategy_named(strategy)
    precision = "bf16-mixed" if mixed == "bfloat16" else "fp16-mixed"
    model = method.apply(base, PARAMETERS, Setting(task.task_type, precision))
    with TemporaryDirectory() as folder:
        setup = TrainingSetup(micro_batch=len(LENGTHS), gradient_accumulation_steps=ACCUMULATION)
        cpu = torch.device("cpu")
        settings = arguments(Path(folder), setup, PARAMETERS, STEPS, seed=0, device=cpu)
        trainer = CountedTrainer(
            model=task.assemble(model, PARAMETERS).train(),
            task=task,
            features=rows,
            order=SequentialSampler(rows),
            strategy=method,
            parameters=PARAMETERS,
            progress=TrainingProgress(),
            mixed_dtype=mixed,
            settings=settings,
            callbacks=[],
            padding_free=join,
        )
        with Calls() as all_calls:
            trainer.train()
    inside = sum(each.waits for each in trainer.micro_batches) + trainer.waits_for_batches
    return trainer.micro_batches, all_calls.waits - inside


def calls(layers: int) -> Calls:
    """Those of a step's first micro-batch, with joined rows, which adds to no earlier gradient."""
    return trained("llama", join=True, layers=layers)[0][ACCUMULATION]


@pytest.mark.parametrize(
    ("kind", "options", "waits"),
    [
        ("llama", {"join": True}, 1),
        ("llama", {}, 1),
        ("llama", {"strategy": "prefix"}, 1),
        ("llama", {"strategy": "ptuning"}, 1),
        ("llama with a head", {}, 0),
        ("bert with a head", {}, 1),
    ],
)
def test_the_host_waits_at_most_once_for_a_micro_batch(
    kind: str, options: dict[str, Any], waits: int
) -> None:
    """For the number of answer tokens; for whether there is padding, in an encoder."""
    micro_batches, _ = trained(kind, **options)
    # The first one also compares the output layer's outputs with the logits.
    assert [each.waits for each in micro_batches[1:]] == [waits] * (STEPS * ACCUMULATION - 1)


@pytest.mark.parametrize(("mixed", "waits"), [("bfloat16", 0), ("float16", 1)])
def test_a_step_waits_only_for_an_overflow_of_float16(mixed: Half, waits: int) -> None:
    """The end of training waits for the mean loss."""
    _, besides = trained("llama", mixed=mixed)
    assert besides == STEPS * waits + 1


def test_a_layer_starts_no_more_kernels_than_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a GPU, where one kernel takes texts of several lengths.
    sequences = importlib.import_module("sweeper.tasks.sequences.joined")
    monkeypatch.setattr(sequences, "has_kernel", lambda _query: True)
    monkeypatch.setattr(sequences, "_KERNEL", lambda query, *_, **__: query * 1.0)
    two, three = calls(2), calls(3)
    assert three.kernels - two.kernels <= 170


def test_activations_are_not_widened_for_adapters() -> None:
    """Each weight of an adapter is narrowed once, and its gradient widened."""
    two, three = calls(2), calls(3)
    sizes = {"query": (WIDTH, WIDTH), "key": (WIDTH, WIDTH // 2), "value": (WIDTH, WIDTH // 2),
             "output": (WIDTH, WIDTH), "gate": (WIDTH, 2 * WIDTH), "up": (WIDTH, 2 * WIDTH),
             "down": (2 * WIDTH, WIDTH)}  # fmt: skip
    adapters = sum(4 * (width + height) for width, height in sizes.values())
    tokens = sum(LENGTHS)
    # The weights, and the states in Llama's norms, which compute in float32: two norms, each there
    # and back, forwards and backwards.
    norms = 2 * 2 * 2 * tokens * WIDTH
    assert three.cast_bytes - two.cast_bytes <= 6 * (2 * adapters + norms)
