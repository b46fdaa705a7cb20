"""Trials with joined texts and trials with padded ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from sweeper.data.examples import SPLITS, Dataset
from sweeper.spec import ModelSpec, Spec
from sweeper.tasks.sequences.joined import _attend_by_text
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.trial.ranks import TRAINER_LOG
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob

CAP = 48
VALUES: dict[str, Any] = {"learning_rate": 5e-3, "r": 4, "lora_alpha": 8, "target_modules": "qkvo"}


@pytest.fixture
def train(
    byte_llama: Path, tiny_facts: Any, turns: Any, make_config: Any, answering: Any, tmp_path: Path
) -> Any:
    """A trial on short conversations with these parameters: its result and its reports."""
    splits = {"train": turns(24, 1), "validation": turns(8, 2), "test": turns(6, 3)}
    dataset = Dataset(
        "x.jsonl", "messages", (), {}, splits, dict.fromkeys(SPLITS, "official"), (), "f"
    )
    named = ModelSpec(id=str(byte_llama))
    facts = tiny_facts(str(byte_llama), context_length=256)
    spec = Spec(task="instruction", models=(named,))
    device = torch.device("cpu")
    context = ModelContext(named, facts, byte_llama, dataset, spec, CAP, 16, device)
    shared = SharedModel(context)

    def run(strategy: str, precision: str = "fp32", **values: Any) -> Any:
        reports, place = answering(), tmp_path / f"trial-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        config = make_config(
            task="instruction",
            strategy=strategy,
            parameters={**VALUES, **values},
            sequence_length=CAP,
            precision=precision,
        )
        result = train_trial(TrialJob(shared, config, place, reports))
        base = context.base_lender.lend(torch.float32 if precision == "fp32" else torch.bfloat16)
        assert base.config._attn_implementation == "sdpa"
        return result, reports, place

    return run


@pytest.mark.parametrize(
    ("strategy", "more"), [("lora", {}), ("full", {"kl_weight": 0.5}), ("lora", {"kl_weight": 0.5})]
)
def test_a_trial_without_padding_trains_as_one_with_padding(
    train: Any, strategy: str, more: dict[str, Any]
) -> None:
    (padded, before, _), (joined, after, place) = (
        train(strategy, padding_free=wanted, **more) for wanted in (False, True)
    )
    assert padded.state == joined.state == "COMPLETE", joined.failure
    assert joined.tokens == padded.tokens
    assert (padded.attention, padded.padding_free) == ("sdpa", False)
    assert (joined.attention, joined.padding_free) == ("sdpa_by_text", True)
    for one, other in zip(after, before, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-4)
    assert "padded" not in (place / TRAINER_LOG).read_text()


def _halves_only(module: Any, query: Tensor, *states: Any, **options: Any) -> Any:
    # transformers casts what it gives to FlashAttention, to the dtype of autocast.
    if query.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    return _attend_by_text(module, query, *states, **options)


def test_a_kernel_without_float32_serves_full_fine_tuning_in_mixed_precision(train: Any) -> None:
    AttentionInterface.register("halves_only", _halves_only)
    AttentionMaskInterface.register("halves_only", sdpa_mask)
    kernel = {"attn_implementation": "halves_only"}
    result, _, _ = train("full", "bf16-mixed", padding_free=True, **kernel)
    assert result.state == "COMPLETE", result.failure
    assert (result.attention, result.padding_free) == ("halves_only", True)
    result, _, _ = train("full", "fp32", padding_free=True, **kernel)
    assert result.state == "COMPLETE", result.failure
    assert (result.attention, result.padding_free) == ("sdpa_by_text", True)


def test_prompts_keep_their_padding_and_say_so(train: Any) -> None:
    result, _, place = train(
        "ptuning", padding_free=True, num_virtual_tokens=4, encoder_hidden_size=16
    )
    assert result.state == "COMPLETE", result.failure
    assert "texts are padded" in (place / TRAINER_LOG).read_text()


def test_an_attention_that_cannot_be_loaded_falls_back_to_one_that_can(train: Any) -> None:
    usual, _, _ = train("lora", "bf16-mixed", padding_free=True)
    kernel = {"attn_implementation": "flash_attention_2"}
    result, _, place = train("lora", "bf16-mixed", padding_free=True, **kernel)
    assert result.validation_loss == usual.validation_loss
    log = (place / TRAINER_LOG).read_text()
    assert log.count("attention is not flash_attention_2: ") == 1
    assert "padded" not in log
