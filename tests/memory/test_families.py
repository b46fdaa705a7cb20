"""What families do to memory that the plain shape does not say."""

from __future__ import annotations

import pytest

from benchmarks.memory.record_fields import Record
from benchmarks.memory.records import case_of
from sweeper.facts.models.linear_layers import targeted
from sweeper.facts.models.model import model_facts
from sweeper.memory.estimate import estimate, tensors_gib
from sweeper.memory.layers import layer_costs
from sweeper.memory.setup import Setup
from sweeper.memory.states import quantized_parameters, trainable_parameters
from sweeper.spec import ModelSpec

MIXTRAL = model_facts(ModelSpec(id="mistralai/Mixtral-8x7B-v0.1"))
QWEN_MOE = model_facts(ModelSpec(id="Qwen/Qwen3-30B-A3B"))
LITE = model_facts(ModelSpec(id="deepseek-ai/DeepSeek-V2-Lite"))
MISTRAL = model_facts(ModelSpec(id="mistralai/Mistral-7B-v0.1"))
FALCON = model_facts(ModelSpec(id="tiiuae/falcon-7b"))
GEMMA = model_facts(ModelSpec(id="google/gemma-2-2b"))
LORA = Setup(strategy="lora", sequence_length=1024, micro_batch=4)


def test_adapters_on_every_expert_count_where_experts_are_linear_layers() -> None:
    linear = trainable_parameters(MIXTRAL, LORA.replace(experts_are_linear=True))
    attention = 2 * (4096 + 4096) + 2 * (4096 + 1024)
    experts = 8 * 3 * (4096 + 14336)
    assert linear == 32 * 16 * (attention + experts)
    assert trainable_parameters(MIXTRAL, LORA) < linear / 10


@pytest.mark.parametrize("word", ["w1", "gate_proj", "mlp", "all-linear"])
def test_experts_are_named_by_any_of_their_names(word: str) -> None:
    names = {linear.role for linear in targeted(MIXTRAL, (word,), experts=True)}
    assert "gate" in names
    assert not {linear.role for linear in targeted(MIXTRAL, (word,))} & {"gate", "up", "down"}


def test_adapters_on_experts_keep_what_their_backward_pass_needs() -> None:
    few = LORA.replace(target_modules=("q_proj",), experts_are_linear=True)
    gates = few.replace(target_modules=("q_proj", "w1", "w2", "w3"))
    grown = estimate(MIXTRAL, gates, 80).parts["activations"]
    assert grown > 1.2 * estimate(MIXTRAL, few, 80).parts["activations"]


def test_experts_without_a_gate_keep_no_gate() -> None:
    down = LORA.replace(target_modules=("w2",), experts_are_linear=True)
    ungated = MIXTRAL.model_copy(update={"gated_mlp": False})
    kept, with_gate = (layer_costs(model, down)[0].kept for model in (ungated, MIXTRAL))
    assert kept < 0.75 * with_gate


def test_four_bits_shrink_experts_only_where_they_are_linear_layers() -> None:
    four = Setup(strategy="qlora", quantization="nf4-dq")
    stacked = quantized_parameters(QWEN_MOE, four)
    linear = quantized_parameters(QWEN_MOE, four.replace(experts_are_linear=True))
    assert stacked < 0.05 * QWEN_MOE.parameters
    assert linear > 0.95 * QWEN_MOE.parameters


@pytest.mark.parametrize(
    ("fields", "linear"),
    [
        ({}, True),
        ({"trainable_params": 242_221_056}, True),
        ({"trainable_params": 13_631_488}, False),
        ({"notes": "torch 2.13.0, transformers 5.13.1"}, False),
        ({"notes": "transformers 4.57.1"}, True),
    ],
)
def test_a_record_tells_whether_its_experts_were_linear_layers(
    fields: Record, linear: bool
) -> None:
    case = case_of({"model": "Mixtral-8x7B-v0.1", "method": "lora", "lora_rank": 16} | fields, "a")
    assert case.setup.experts_are_linear is linear


def test_latent_attention_caches_and_keeps_its_own_widths() -> None:
    assert LITE.mla is not None
    roles = {linear.role for linear in targeted(LITE, "all-linear")}
    assert {"q", "kv_a", "kv_b", "o", "shared_gate"} <= roles
    assert "k" not in roles


def test_a_mask_is_kept_by_every_layer_and_repeats_shared_keys() -> None:
    long = LORA.replace(sequence_length=4096)
    free, masked = (
        tensors_gib(estimate(MISTRAL, s, 80)) for s in (long, long.replace(padded=True))
    )
    masks = MISTRAL.layers * 4 * 4096**2 * 2 / 2**30
    assert masked - free > masks
    flash = long.replace(attention="flash")
    assert estimate(MISTRAL, flash, 80) == estimate(MISTRAL, flash.replace(attention="flash"), 80)
    one, other = (estimate(MISTRAL, flash.replace(padded=p), 80).peak_gib for p in (False, True))
    assert one == other


def test_one_key_for_all_heads_is_narrow_and_parallel_blocks_share_a_norm() -> None:
    shared = {linear.role: linear for linear in targeted(FALCON, "all-linear")}
    assert shared["qkv"].outputs == FALCON.hidden_size + 2 * FALCON.head_dim
    assert FALCON.parallel_blocks


def test_a_huge_vocabulary_makes_the_logits_the_largest_part() -> None:
    parts = estimate(GEMMA, LORA.replace(gradient_checkpointing=True), 80).parts
    assert max(parts, key=lambda name: parts[name]) == "logits and loss"


def test_layers_that_are_not_attention_widen_the_interval_and_are_said() -> None:
    hybrid = MISTRAL.model_copy(update={"attention_only": False})
    plain, rough = estimate(MISTRAL, LORA, 80), estimate(hybrid, LORA, 80)
    assert rough.peak_gib == plain.peak_gib
    assert rough.high_gib > 2 * plain.peak_gib
    assert "layers without attention" in " ".join(rough.assumptions)
