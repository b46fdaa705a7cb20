from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.machine.gpus import table
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.memory.setup import Setup
from sweeper.planning.costs.step_time import (
    evaluation,
    forward_flops,
    possible_machines,
    speed_of,
    step_seconds,
    training_step,
)
from sweeper.planning.costs.trial_seconds import Workload, formula_duration, setup_times
from sweeper.plans import Duration
from sweeper.spec import HardwareSpec, ModelSpec


def seconds_per_step(model: ModelFacts, setup: Setup, hardware: HardwareFacts) -> float:
    return step_seconds(model, setup, speed_of(hardware, setup))


MISTRAL = model_facts(ModelSpec(id="mistralai/Mistral-7B-v0.1"))
LLAMA3 = model_facts(ModelSpec(id="meta-llama/Meta-Llama-3-8B"))
LLAMA32 = model_facts(ModelSpec(id="meta-llama/Llama-3.2-3B"))
SMOLLM = model_facts(ModelSpec(id="HuggingFaceTB/SmolLM2-135M"))
MINILM = model_facts(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"))


def _gpu(tflops: float, bandwidth: float) -> HardwareFacts:
    return HardwareFacts(
        device="cuda", name="gpu", detected=False, gpus=1, memory_gib=80, bf16=True,
        bf16_tflops=tflops, bandwidth_gb_per_second=bandwidth, fp32_tflops=20,
    )  # fmt: skip


A100, L40S = _gpu(312, 2039), _gpu(362, 864)
#: One core of the EPYC of the measurements below (benchmarks/findings.md).
CORE = HardwareFacts(
    device="cpu", name="cpu", detected=True, gpus=0, memory_gib=16, bf16=False, cpu_cores=1,
    fp32_tflops=0.1024, bandwidth_gb_per_second=38.85,
)  # fmt: skip
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
LONG: dict[str, Any] = {
    "sequence_length": 4096, "gradient_checkpointing": True, "attention": "flash",
    "target_modules": QKVO,
}  # fmt: skip


# Tokens a second as published: fms-acceleration (A100 80GB) and PEFT's comparison (L40S).
@pytest.mark.parametrize(
    ("facts", "hardware", "setup", "tokens_per_second"),
    [
        (MISTRAL, A100, Setup(strategy="full", precision="bf16-pure", micro_batch=4, **LONG), 3063),
        (MISTRAL, A100, Setup(strategy="lora", micro_batch=16, loss="fused", **LONG), 3951),
        (
            LLAMA3,
            A100,
            Setup(strategy="qlora", quantization="nf4", micro_batch=8, loss="fused", **LONG),
            4105,
        ),
        (LLAMA32, L40S, Setup(strategy="lora", micro_batch=4, sequence_length=210), 5265),
        (LLAMA32, L40S, Setup(strategy="prefix", micro_batch=4, sequence_length=210), 7480),
    ],
    ids=["full", "lora", "qlora", "short-lora", "short-prefix"],
)
def test_a_gpu_is_as_fast_as_published_within_a_third(
    facts: ModelFacts, hardware: HardwareFacts, setup: Setup, tokens_per_second: float
) -> None:
    found = setup.tokens / seconds_per_step(facts, setup, hardware)
    assert found == pytest.approx(tokens_per_second, rel=0.33)


# litgpt on an A100 40GB, micro-batch 1: 3.68 against 2.36 minutes per 1,000 (7B).
def test_four_bits_take_as_much_longer_as_published_within_a_fifth() -> None:
    lora = Setup(strategy="lora", precision="bf16-pure", sequence_length=1304, r=8)
    qlora = lora.replace(strategy="qlora", quantization="nf4")
    a100_40gb = _gpu(312, 1555)
    model = model_facts(ModelSpec(id="meta-llama/Llama-2-7b-hf"))
    longer = seconds_per_step(model, qlora, a100_40gb) - seconds_per_step(model, lora, a100_40gb)
    assert longer == pytest.approx(0.0792, rel=0.2)


@pytest.mark.parametrize("model", [LLAMA32, LLAMA3], ids=lambda model: model.id)
@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bf16-mixed", "fp16-mixed", "bf16-pure"])
def test_qlora_is_never_faster_than_lora_at_the_same_micro_batch(
    model: ModelFacts, batch: int, checkpointing: bool, precision: Any
) -> None:
    lora = Setup(
        strategy="lora", micro_batch=batch, gradient_checkpointing=checkpointing,
        precision=precision,
    )  # fmt: skip
    qlora = lora.replace(strategy="qlora", quantization="nf4-dq", upcast_norms=True)
    for card in (A100, L40S):
        assert seconds_per_step(model, qlora, card) > seconds_per_step(model, lora, card)


# llm-foundry's benchmarks: 7B, 2,048 tokens, eight cards that share one model.
@pytest.mark.parametrize(
    ("card", "tokens_per_second"), [(_gpu(989, 3352), 10_643), (A100, 4_600)], ids=["H100", "A100"]
)
def test_full_fine_tuning_of_7b_is_inside_the_interval(
    card: HardwareFacts, tokens_per_second: float
) -> None:
    setup = Setup(
        strategy="full", micro_batch=6, sequence_length=2048, attention="flash", loss="fused"
    )
    seconds = seconds_per_step(MISTRAL, setup, card)
    interval = speed_of(card, setup).duration(seconds)
    assert interval.low < setup.tokens / tokens_per_second < interval.high


# An RTX 4090, compiled and packed.
def test_lora_of_8b_on_a_consumer_card_is_inside_the_interval() -> None:
    setup = Setup(
        strategy="lora", precision="bf16-pure", micro_batch=2, sequence_length=2048, r=8,
        target_modules=("q_proj", "v_proj"), attention="flash", loss="fused",
    )  # fmt: skip
    card = _gpu(165, 1008)
    interval = speed_of(card, setup).duration(seconds_per_step(LLAMA3, setup, card))
    assert interval.low < setup.tokens / 3_083 < interval.high


# QLoRA's authors, transformers and PEFT on a card of 48 GB (https://github.com/artidoro/qlora,
# scripts/finetune_guanaco_65b.sh): 24 hours for 1,875 steps of 4 x 4 texts of about 400 tokens,
# which are cut at 528.
@pytest.mark.parametrize("card", ["RTX A6000", "A40"])
def test_qlora_of_65b_on_a_card_of_48_gb_is_inside_the_interval(card: str) -> None:
    setup = Setup(
        strategy="qlora", quantization="nf4-dq", precision="bf16-mixed", micro_batch=4,
        gradient_accumulation_steps=4, sequence_length=400, r=64, gradient_checkpointing=True,
        lora_dropout=0.05, optimizer="paged_adamw_32bit",
    )  # fmt: skip
    hardware = _gpu(table()[card].bf16_tflops or 0.0, table()[card].bandwidth_gb_per_second)
    model = model_facts(ModelSpec(id="huggyllama/llama-65b"))
    interval = speed_of(hardware, setup).duration(seconds_per_step(model, setup, hardware))
    tokens = setup.gradient_accumulation_steps * setup.tokens
    assert tokens / 140 == pytest.approx(24 * 3600 / 1875, rel=0.01)
    assert interval.low < tokens / 140 < interval.high


# CPU seconds of one step in float32 on one core, measured by this project.
@pytest.mark.parametrize(
    ("facts", "strategy", "batch", "length", "seconds"),
    [
        (MINILM, "full", 8, 13, 0.143), (MINILM, "full", 16, 32, 0.479),
        (MINILM, "full", 16, 96, 1.375), (MINILM, "lora", 8, 13, 0.0755),
        (MINILM, "lora", 16, 32, 0.309), (MINILM, "lora", 16, 96, 1.080),
        (SMOLLM, "full", 2, 48, 1.207), (SMOLLM, "full", 4, 160, 6.322),
        (SMOLLM, "lora", 2, 48, 0.757), (SMOLLM, "lora", 4, 64, 1.762),
    ],
)  # fmt: skip
def test_a_core_is_as_fast_as_measured_within_a_fifth(
    facts: ModelFacts, strategy: str, batch: int, length: int, seconds: float
) -> None:
    setup = Setup(
        strategy=strategy, micro_batch=batch, sequence_length=length, precision="fp32", r=16,
        target_modules=("q_proj", "v_proj") if facts is MINILM else QKVO, lora_dropout=0.05,
        classes=2 if facts is MINILM else 0, device="cpu", padded=True,
    )  # fmt: skip
    found = seconds_per_step(facts, setup, CORE)
    assert found == pytest.approx(seconds, rel=0.2)


# CPU seconds of forward and backward passes in turn, bf16 under autocast against fp32.
@pytest.mark.parametrize(
    ("facts", "strategy", "batch", "length", "gain"),
    [
        (MINILM, "full", 16, 32, 2.26), (MINILM, "lora", 16, 96, 2.42),
        (SMOLLM, "full", 4, 160, 2.27), (SMOLLM, "lora", 4, 64, 2.07),
    ],
)  # fmt: skip
def test_bf16_on_a_processor_gains_what_was_measured(
    facts: ModelFacts, strategy: str, batch: int, length: int, gain: float
) -> None:
    plain = Setup(
        strategy=strategy, micro_batch=batch, sequence_length=length, precision="fp32",
        classes=2 if facts is MINILM else 0, device="cpu",
    )  # fmt: skip
    mixed = plain.replace(precision="bf16-mixed")
    able = CORE.model_copy(update={"bf16": True})
    found = seconds_per_step(facts, plain, able) / seconds_per_step(facts, mixed, able)
    assert found == pytest.approx(gain, rel=0.2)
    assert seconds_per_step(facts, mixed, CORE) == seconds_per_step(facts, plain, CORE)


@pytest.mark.parametrize(("batch", "seconds"), [(1, 0.0444), (8, 0.0849)])
def test_a_core_writes_a_token_as_fast_as_measured_within_a_fifth(
    batch: int, seconds: float
) -> None:
    setup = Setup(strategy="full", precision="fp32", micro_batch=batch, device="cpu")
    assert setup_times(SMOLLM, setup, CORE).generation_seconds(batch, 1, batch) == pytest.approx(
        seconds, rel=0.2
    )


def test_a_merged_adapter_costs_nothing_while_a_model_writes() -> None:
    lora = Setup(strategy="lora", precision="fp32", device="cpu")
    qlora = lora.replace(strategy="qlora", quantization="nf4-dq")
    base, merged, apart = (
        setup_times(SMOLLM, setup, CORE).generation_seconds(8, 9)
        for setup in (lora.replace(strategy="full"), lora, qlora)
    )
    assert setup_times(SMOLLM, lora, CORE).generation_seconds(8, 9, batch=8) > 2 * merged
    assert merged == pytest.approx(base)
    assert apart > 2 * merged


def test_a_gpu_writes_as_many_texts_at_once_as_its_memory_has_room_for() -> None:
    seconds = [
        setup_times(LLAMA3, LORA, A100.model_copy(update={"memory_gib": gib})).generation_seconds(
            64, 100
        )
        for gib in (18, 48, 80)
    ]
    assert seconds[0] > 5 * seconds[2]
    assert seconds[0] > seconds[1] > seconds[2]
    one = setup_times(LLAMA3, LORA, A100).generation_seconds(1, 100)
    assert one < seconds[2] < 2 * one  # keys and values are read for each token


LORA = Setup(strategy="lora", micro_batch=4, sequence_length=1024)


@pytest.mark.parametrize(
    "slower",
    [{"gradient_checkpointing": True}, {"strategy": "full"}, {"quantization": "nf4"},
     {"sequence_length": 4096, "micro_batch": 1}, {"precision": "fp32"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_more_work_takes_longer(slower: dict[str, Any]) -> None:
    assert _seconds(LORA.replace(**slower)) > _seconds(LORA)


def _seconds(setup: Setup) -> float:
    return trial(MISTRAL, setup, A100, trained=1000).seconds


def trial(
    model: ModelFacts, setup: Setup, hardware: HardwareFacts, trained: int, scored: int = 0
) -> Duration:
    """A trial of so many rows at the set-up's own length, by the formula."""
    workload = Workload(
        train_rows=trained * 1024 // setup.sequence_length, epochs=1.0, rungs=1, rung_items=0,
        validation_rows=scored, test_rows=0, item_tokens=setup.sequence_length,
        scoring_tokens=setup.sequence_length, classes=setup.classes, longest=setup.sequence_length,
    )  # fmt: skip
    return formula_duration(model, setup, speed_of(hardware, setup), workload)


def test_a_trial_is_its_steps_and_its_evaluations() -> None:
    whole, trained = (trial(MISTRAL, LORA, A100, 1000, scored) for scored in (200, 0))
    scored = whole.seconds - trained.seconds
    assert whole.low < whole.seconds < whole.high
    # an evaluated token costs one forward pass; a trained one of LoRA at least two
    assert 0.01 < scored / 200 < trained.seconds / 1000


def test_several_gpus_share_the_tokens() -> None:
    one = _seconds(LORA)
    four = _seconds(LORA.replace(gpus=4))
    assert four == pytest.approx(one / 4, rel=0.01)


def test_a_head_costs_one_pass_over_the_data() -> None:
    setup = Setup(strategy="head", classes=5, micro_batch=16, sequence_length=64, precision="fp32")
    head = trial(MINILM, setup, CORE, 100).seconds
    full = trial(MINILM, setup.replace(strategy="full"), CORE, 100).seconds
    assert head < full / 2.5


def test_a_forward_pass_is_two_operations_a_weight_and_attention_grows_with_length() -> None:
    blocks, head = forward_flops(MISTRAL, LORA, 0)
    inside = MISTRAL.parameters - 2 * 32000 * 4096
    assert blocks == pytest.approx(2 * inside, rel=1e-3)
    assert head == 2 * 32000 * 4096
    longer, _ = forward_flops(MISTRAL, LORA, 4096)
    assert longer - blocks == 0.5 * 4 * 32 * 4096 * 4096


def test_only_answers_cost_logits() -> None:
    _, all_tokens = forward_flops(MISTRAL, LORA, 100)
    _, answers = forward_flops(MISTRAL, LORA.replace(answer_fraction=0.25), 100)
    assert answers == all_tokens / 4


def test_work_adds_up_and_scales() -> None:
    work = evaluation(MINILM, Setup(strategy="full", classes=2), 4, 32)
    assert (work + work).flops == (work * 2).flops > 0
    assert (work + work).bytes == (work * 2).bytes > 0


def test_accumulation_repeats_micro_batches_but_not_the_optimizer() -> None:
    once = training_step(SMOLLM, LORA)
    four = training_step(SMOLLM, LORA.replace(gradient_accumulation_steps=4))
    assert 3.9 < four.flops / once.flops < 4
    assert four.streamed == once.streamed > 0
    assert four.adapters == 4 * once.adapters > 0


def test_an_uncalibrated_processor_is_told_by_its_cores_and_less_surely() -> None:
    plain = CORE.model_copy(update={"fp32_tflops": None, "bandwidth_gb_per_second": None})
    two = plain.model_copy(update={"cpu_cores": 2})
    assert speed_of(two, LORA).flops == 2 * speed_of(plain, LORA).flops
    known, unknown = speed_of(CORE, LORA).spread, speed_of(plain, LORA).spread
    assert unknown[0] < known[0] < 1 < known[1] < unknown[1]


def test_float32_runs_at_the_cards_float32_rate() -> None:
    fp32 = LORA.replace(precision="fp32")
    assert speed_of(A100, fp32).flops == pytest.approx(speed_of(A100, LORA).flops * 20 / 312)


def test_a_stated_memory_is_planned_at_the_speed_of_each_card_that_has_it() -> None:
    stated = hardware_facts(HardwareSpec(gpu_memory_gib=24))
    speeds = [machine.bandwidth_gb_per_second for machine in possible_machines(stated)]
    assert speeds == [card.bandwidth_gb_per_second for card in stated.cards]
    assert possible_machines(A100) == (A100,)
