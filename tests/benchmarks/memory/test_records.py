from __future__ import annotations

from typing import Any

import pytest

from benchmarks.memory.record_model import model_of
from benchmarks.memory.record_words import card_gib
from benchmarks.memory.records import case_of
from sweeper.memory.states import trainable_parameters

ROW: dict[str, Any] = {
    "id": "a", "model": "Mistral-7B-v0.1", "n_params": 7_241_732_096, "hidden": 4096,
    "layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128, "intermediate": 14336,
    "vocab": 32000, "tied_embeddings": False, "method": "lora", "lora_rank": 8,
    "targets": ["q_proj", "v_proj"], "base_dtype": "bfloat16", "quantization": "none",
    "optimizer": "AdamW", "trainable_dtype": "float32 adapter", "micro_batch": 2,
    "sequence_length": 512, "sequence_length_kind": "fixed (packed)",
    "gradient_checkpointing": True, "attention_impl": "sdpa", "loss_impl": "plain cross-entropy",
    "gpu": "NVIDIA A100 80GB", "n_gpus": 1, "measured": "reserved (peak)",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"method": "full", "trainable_dtype": "bfloat16"}, "precision", "bf16-pure"),
        ({"method": "full", "trainable_dtype": "float32"}, "precision", "bf16-mixed"),
        ({"base_dtype": "float32", "method": "full"}, "precision", "fp32"),
        ({"base_dtype": "float32 with fp16 autocast"}, "precision", "bf16-mixed"),
        ({"base_dtype": "float32 weights, bf16 autocast"}, "base_dtype", "float32"),
        ({"trainable_dtype": "bfloat16"}, "precision", "bf16-pure"),
        ({"quantization": "bnb nf4"}, "quantization", "nf4"),
        ({"quantization": "bnb.nf4-dq"}, "quantization", "nf4-dq"),
        ({"quantization": "bnb 8-bit"}, "quantization", "int8"),
        ({"quantization": "GPTQ int4"}, "quantization", "int4"),
        ({"loss_impl": "fused linear cross-entropy (liger)"}, "loss", "fused"),
        ({"loss_impl": "cut cross-entropy"}, "loss", "fused"),
        ({"loss_impl": "fused cross-entropy kernel on full logits"}, "loss", "kernel"),
        ({"loss_impl": "cross-entropy in chunks of 128 tokens"}, "loss", "chunked"),
        ({"loss_impl": "chunked linear cross-entropy"}, "loss", "fused"),
        ({"loss_impl": "classification (2 labels)"}, "classes", 2),
        ({"attention_impl": "flash_attention_2"}, "attention", "flash"),
        ({"attention_impl": None}, "attention", "sdpa"),
        ({"method": "qlora"}, "strategy", "qlora"),
        ({"method": "prefix"}, "strategy", "prefix"),
        ({"method": "p-tuning"}, "strategy", "ptuning"),
        ({"method": "boft"}, "strategy", "lora"),
        ({"method": "ia3"}, "rescales_outputs", True),
        ({"method": "lora (dora)"}, "use_dora", True),
        ({"optimizer": "PagedAdamW8bit, fused into backward"}, "releases_gradients", True),
        ({"gradient_checkpointing": None}, "gradient_checkpointing", True),
        ({"targets": ["all linear"]}, "target_modules", "all-linear"),
        ({"n_gpus": 4, "parallelism": "DDP"}, "gpus", 4),
        ({"micro_batch": None}, "micro_batch", 1),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_free_text_is_understood(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(case_of(ROW | changes, "a").setup, field) == value


@pytest.mark.parametrize(
    ("measured", "counter"),
    [
        ("allocated (torch max_memory_allocated)", "allocated"),
        ("reserved (device_mem_reserved in the log)", "reserved"),
        ("nvidia-smi (includes about 1343 MiB context)", "device"),
        ("not stated", "reserved"),
    ],
)
def test_the_counter_is_told_apart(measured: str, counter: str) -> None:
    assert case_of(ROW | {"measured": measured}, "a").counter == counter


def test_gaps_are_filled_and_said() -> None:
    case = case_of({"n_params": 7e9}, "x")
    assert case.model.hidden_size == 4224
    assert case.model.layers == 33
    assert not case.known
    assert "shape estimated from the number of parameters" in case.assumptions
    assert "sequence length unknown: 512 assumed" in case.assumptions


def test_experts_follow_from_the_parameter_count() -> None:
    facts, assumed = model_of(ROW | {"model": "wonder-moe", "n_params": 46_702_792_704})
    assert facts.moe is not None
    assert (facts.moe.experts, facts.moe.experts_per_token) == (8, 2)
    assert "8 experts" in assumed[0]


def test_an_ungated_model_is_recognised_by_its_parameter_count() -> None:
    neox = {"model": "pythia", "n_params": 6_857_302_016, "kv_heads": 32, "intermediate": 16384}
    facts, _ = model_of(ROW | neox | {"vocab": 50432})
    assert not facts.gated_mlp
    assert facts.parallel_blocks


def test_mean_lengths_stand_for_longer_batches() -> None:
    kind = {"sequence_length_kind": "mean tokens per sample incl. padding"}
    case = case_of(ROW | kind, "a")
    assert case.setup.sequence_length > 3 * 512
    assert not case.known


@pytest.mark.parametrize(
    ("name", "gib"),
    [("NVIDIA A10G 24GB", 22.3), ("A100-40GB", 39.6), ("Imaginary 100 GB", 99.0), ("", None),
     ("no such card", None), (None, None)],
)  # fmt: skip
def test_cards_are_known_by_name_or_by_the_size_in_it(name: str | None, gib: float | None) -> None:
    assert card_gib(name) == (None if gib is None else pytest.approx(gib, abs=0.1))


def test_what_is_not_known_is_named_instead_of_planned_silently() -> None:
    odd = case_of(ROW | {"optimizer": "galore_adamw", "quantization": "aqlm 2 bits"}, "a")
    told = " ".join(odd.assumptions)
    assert "optimizer galore_adamw is not known" in told
    assert "quantisation aqlm 2 bits is not known: nf4 assumed" in told
    usual = " ".join(case_of(ROW | {"optimizer": "AdamW"}, "a").assumptions)
    assert "not known" not in usual


def test_trained_embeddings_are_counted_and_named() -> None:
    plain = case_of(ROW | {"method": "lora", "trainable_params": None}, "a")
    more = {"method": "lora", "trainable_params": None, "modules_to_save": ["embed_tokens"]}
    wide = case_of(ROW | more, "a")
    table = wide.model.vocabulary_size * wide.model.hidden_size
    assert wide.setup.trainable == trainable_parameters(plain.model, plain.setup) + table
    assert f"{table:,} weights of embeddings train whole" in wide.assumptions
