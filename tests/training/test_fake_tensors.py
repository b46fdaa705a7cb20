"""One step of each strategy, precision and attention on tensors without data.

With a GPU and torch's build for CUDA they are on ``cuda``, where an operation that mixes devices
fails. Without a GPU they are on ``cpu``: the backward pass asks the driver for a device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import cycle, product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from sweeper.evaluation.evaluator import autocast
from sweeper.memory.setup import Setup
from sweeper.plans import Precision, autocast_dtype
from sweeper.strategies.strategy import Setting
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classifier, Pooling
from sweeper.tasks.sequences import answer_logits
from sweeper.tasks.sequences import joined as sequences
from sweeper.tasks.sequences.joined import ATTENTION_BY_TEXT, INPUTS, pack_texts
from sweeper.tasks.task import padded
from sweeper.training.probes.training_step import optimizer_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPE = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
ROWS = [[*range(2, 2 + length)] for length in (9, 14, 5)]
PARAMETERS = {
    "r": 4, "lora_alpha": 8, "target_modules": "all-linear", "num_virtual_tokens": 2,
    "reduction_factor": 4, "encoder_hidden_size": 16,
}  # fmt: skip
# bitsandbytes packs weights in a subclass of tensors that has no form without data.
STRATEGIES = ("full", "lora", "adapter", "prefix", "ptuning")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16-mixed", "fp16-mixed", "bf16-pure")
JOINING = {"full", "lora", "adapter"}
Losses = Callable[[nn.Module, dict[str, Any]], Tensor]


@pytest.fixture(autouse=True)
def _without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on values has the values of this batch."""
    labels = [label for row in ROWS for label in (-100, *row[1:])]
    places = [number for number, label in enumerate(labels) if label != -100]

    def predicting(given: Tensor) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(places, device=given.device)
        return chosen - 1, given.flatten().index_select(0, chosen)

    monkeypatch.setattr(answer_logits, "_predicting_positions", predicting)
    monkeypatch.setattr(answer_logits, "_OUTPUTS_ARE_LOGITS", AlwaysPlain())
    monkeypatch.setattr("transformers.masking_utils.fast_all", lambda _: False)
    always_masked = "transformers.masking_utils._ignore_bidirectional_mask_sdpa"
    monkeypatch.setattr(always_masked, lambda *_: False)
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda _: None)


class AlwaysPlain(dict[nn.Module, bool]):
    """Says of each output layer that its outputs are the logits."""

    def __missing__(self, layer: nn.Module) -> bool:
        return True

    def __contains__(self, layer: object) -> bool:
        return True

    def get(self, layer: Any, default: Any = None) -> bool:
        return True


def emptied(model: nn.Module, mode: FakeTensorMode) -> None:
    """Put tensors without data on the device in the place of all weights."""
    fakes: dict[int, Any] = {}
    for module in model.modules():
        for name, weight in [*module._parameters.items()]:
            if weight is not None:
                fake = mode.from_tensor(weight.detach()).to(DEVICE)
                made = fakes.setdefault(id(weight), nn.Parameter(fake, weight.requires_grad))
                module._parameters[name] = made
        for name, buffer in [*module._buffers.items()]:
            if buffer is not None:
                module._buffers[name] = mode.from_tensor(buffer).to(DEVICE)


def check_step(
    model: Any, batch: dict[str, Any], precision: Precision, strategy: str, losses: Losses
) -> None:
    """A step on tensors without data gives each trained weight a gradient of its dtype."""
    ends = batch["cu_seq_lens_q"].tolist() if "cu_seq_lens_q" in batch else []
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        emptied(model, mode)
        moved = {
            name: mode.from_tensor(part).to(DEVICE) if isinstance(part, Tensor) else part
            for name, part in batch.items()
        }
        if ends:
            sequences._ENDS[moved["cu_seq_lens_q"]] = ends
        steps = optimizer_of(model, Setup(strategy=strategy, optimizer="adamw_torch"), DEVICE)
        with autocast(DEVICE, autocast_dtype(precision)):
            loss = losses(model, moved).sum()
        loss.backward()
        steps.step()
    assert (loss.device.type, loss.dtype) == (DEVICE.type, torch.float32)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert trained
    for weight in trained:
        assert weight.grad is not None
        assert (weight.grad.device.type, weight.grad.dtype) == (DEVICE.type, weight.dtype)


def losses_of_answers(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    return answer_logits.answer_losses(model, inputs, batch["labels"])


def losses_of_classes(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return cross_entropy(model(**inputs), batch["classes"], reduction="none")


@pytest.mark.parametrize(
    ("strategy", "precision", "attention"),
    [
        (strategy, precision, attention)
        for strategy, precision in product(STRATEGIES, PRECISIONS)
        for attention in ("eager", "sdpa", *([ATTENTION_BY_TEXT] if strategy in JOINING else []))
    ],
)
def test_a_step_runs_on_one_device_and_gives_gradients_of_the_weights_dtype(
    strategy: str, precision: Precision, attention: str
) -> None:
    method = strategy_named(strategy)
    base = LlamaForCausalLM(LlamaConfig(**SHAPE)).to(method.base_dtype(precision))
    base.requires_grad_(False).set_attn_implementation(attention)
    model = method.apply(base, PARAMETERS, Setting("CAUSAL_LM", precision)).train()
    batch: dict[str, Any] = pack_texts([{"input_ids": row, "labels": row} for row in ROWS])
    if attention != ATTENTION_BY_TEXT:
        batch = {name: batch[name] for name in ("input_ids", "labels", "attention_mask")}
    check_step(model, batch, precision, strategy, losses_of_answers)


# Prefix tuning needs a decoder.
ENCODER = [case for case in product(STRATEGIES, PRECISIONS) if case[0] != "prefix"]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("strategy", "precision", "pooling"),
    [(*case, pooling) for case, pooling in zip(ENCODER, cycle(get_args(Pooling)), strict=False)],
)
def test_a_step_of_an_encoder_with_a_head(
    strategy: str, precision: Precision, pooling: Pooling, attention: str
) -> None:
    method = strategy_named(strategy)
    shape = {name: size for name, size in SHAPE.items() if name != "num_key_value_heads"}
    base = BertModel(BertConfig(**shape), add_pooling_layer=False).to(method.base_dtype(precision))
    base.requires_grad_(False).set_attn_implementation(attention)
    adapted = method.apply(base, PARAMETERS, Setting("FEATURE_EXTRACTION", precision))
    model = Classifier(adapted, pooling, SHAPE["hidden_size"], 3).train()
    ids = padded(ROWS, 0)
    batch = {"input_ids": ids, "attention_mask": ids.ne(0).long(), "classes": torch.arange(3)}
    check_step(model, batch, precision, strategy, losses_of_classes)
