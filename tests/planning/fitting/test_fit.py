from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import NothingFits
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.fitting.fit import precisions
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate, Plan
from sweeper.spec import TrainingSpec
from sweeper.traits.traits import known_strategies

MACHINES = [(24.0, 1), (80.0, 1), (80.0, 8)]
EVERY = {"aim": {"strategies": known_strategies()}}


def plan(scene: Any, **facts: Any) -> Plan:
    return make_plan(*scene(**facts))


@pytest.mark.parametrize(("gib", "gpus"), MACHINES)
@pytest.mark.parametrize("model", ["minilm", "smollm2", "7B", "13B"])
def test_no_plan_proposes_what_does_not_fit(scene: Any, model: str, gib: float, gpus: int) -> None:
    task = {"task": "classification", "labels": 5} if model == "minilm" else {}
    made = plan(scene, model=model, gpu_gib=gib, gpus=gpus, **task, **EVERY)
    for candidate in made.candidates:
        assert candidate.memory.high_gib <= candidate.memory.limit_gib == gib
        assert candidate.memory.low_gib <= candidate.memory.peak_gib <= candidate.memory.high_gib


@pytest.mark.parametrize(("gib", "gpus"), MACHINES)
def test_micro_batch_and_accumulation_make_the_effective_batch(
    scene: Any, gib: float, gpus: int
) -> None:
    for candidate in plan(scene, gpu_gib=gib, gpus=gpus, **EVERY).candidates:
        effective = candidate.parameters["per_device_train_batch_size"].default
        seen = candidate.setup.micro_batch * candidate.setup.gradient_accumulation_steps
        assert seen * candidate.setup.gpus == effective
        assert candidate.setup.evaluation_batch >= candidate.setup.micro_batch


def test_70b_fits_one_80_gib_gpu_with_qlora_only(scene: Any) -> None:
    made = plan(scene, model="70B", gpu_gib=80.0)
    assert [c.strategy for c in made.candidates] == ["qlora"]
    assert made.candidates[0].setup.quantization == "nf4-dq"
    out = {item.strategy: item for item in made.rejected}
    assert out["full"].needs_gib is not None
    assert out["full"].needs_gib > 250
    assert out["lora"].needs_gib is not None
    assert 130 < out["lora"].needs_gib < 250
    assert "a base in 4 bits (qlora) would fit" in out["lora"].remedy


def test_full_70b_does_not_fit_eight_80_gib_gpus_in_mixed_precision(scene: Any) -> None:
    mixed = {"precision": "bf16-mixed"}
    made = plan(scene, model="70B", gpu_gib=80.0, gpus=8, training=mixed)
    assert "full" in {item.strategy for item in made.rejected}
    assert "qlora" in {c.strategy for c in made.candidates}


def test_7b_on_24_gib_is_for_adapters(scene: Any) -> None:
    made = plan(scene, gpu_gib=24.0)
    assert made.recommended == "lora"
    full = next(item for item in made.rejected if item.strategy == "full")
    assert full.has_gib == 24
    assert full.needs_gib is not None
    assert "a GPU with 32 GiB (RTX 5000 Ada, RTX 5090, MI100) would fit" in full.remedy
    assert "smaller" in full.remedy or "of the same shape" in full.remedy


def _full(scene: Any, gib: float) -> Candidate:
    return plan(scene, model="7B", gpu_gib=gib, aim={"strategies": ["full"]}).candidates[0]


def test_smaller_states_come_before_weights_without_a_master(scene: Any) -> None:
    found = {gib: _full(scene, gib) for gib in (200.0, 141.0, 80.0, 64.0, 48.0, 40.0)}
    setups = {gib: (one.setup.precision, one.setup.optimizer) for gib, one in found.items()}
    assert setups == {
        200.0: ("bf16-mixed", "adamw_torch_fused"),
        141.0: ("bf16-mixed", "adamw_bnb_8bit"),  # it needs no checkpointing
        80.0: ("bf16-mixed", "adamw_bnb_8bit"),
        64.0: ("bf16-mixed", "paged_adamw_8bit"),
        48.0: ("bf16-pure", "adamw_bnb_8bit"),
        40.0: ("bf16-pure", "paged_adamw_8bit"),
    }
    assert any("arXiv:2110.02861" in note for note in found[80.0].setup_notes)
    assert found[80.0].duration.seconds < found[64.0].duration.seconds  # paged states take time
    assert found[48.0].memory.peak_gib < 48  # no temporary copy of all weights


def test_a_faster_set_up_that_costs_quality_is_taken_where_time_costs_more(scene: Any) -> None:
    full: dict[str, Any] = {"model": "7B", "gpu_gib": 64.0}
    found = {
        price: plan(scene, **full, aim={"strategies": ["full"], "points_per_doubling": price})
        for price in (0.35, 5.0)
    }
    chosen = {price: made.candidates[0].precision for price, made in found.items()}
    assert chosen == {0.35: "bf16-mixed", 5.0: "bf16-pure"}


@pytest.mark.parametrize(("gib", "optimizer"), [(4.0, "adamw_bnb_8bit"), (3.0, "adafactor")])
def test_a_processor_has_no_other_memory_for_states(scene: Any, gib: float, optimizer: str) -> None:
    asked = {"hardware": {"memory_gib": gib}, "aim": {"strategies": ["full"]}}
    made = plan(scene, model="smollm2", gpu_gib=None, **asked)
    assert made.candidates[0].setup.optimizer == optimizer


def test_qlora_keeps_the_states_of_its_adapter_in_32_bits_where_they_fit(scene: Any) -> None:
    qlora = {"model": "7B", "aim": {"strategies": ["qlora"]}}
    found = {
        gib: plan(scene, gpu_gib=gib, **qlora).candidates[0].setup.optimizer for gib in (24.0, 5.6)
    }
    assert found == {24.0: "adamw_torch_fused", 5.6: "adamw_bnb_8bit"}


def test_a_frozen_model_is_planned_in_the_precision_of_its_features(scene: Any) -> None:
    facts = {"task": "classification", "labels": 5, "gpu_gib": None, "hardware": {"bf16": True}}
    made = plan(scene, model="smollm2", **facts, **EVERY)
    found = {one.strategy: one.setup.precision for one in made.candidates}
    assert (found["head"], found["lora"]) == ("fp32", "bf16-mixed")


def test_prefix_tuning_never_checkpoints(scene: Any) -> None:
    for gib in (24.0, 80.0):
        made = plan(scene, gpu_gib=gib, aim={"strategies": ("prefix", "lora")})
        for candidate in made.candidates:
            if candidate.strategy == "prefix":
                assert not candidate.setup.gradient_checkpointing


def test_prefix_tuning_is_refused_on_encoders_with_the_reason(scene: Any) -> None:
    facts = {"task": "classification", "model": "minilm", "labels": 3, "gpu_gib": None}
    made = plan(scene, aim={"strategies": ("prefix", "lora")}, **facts)
    refused = next(item for item in made.rejected if item.strategy == "prefix")
    assert "encoders" in refused.reason


def test_the_users_wishes_are_kept(scene: Any) -> None:
    training = {"precision": "bf16-pure", "gradient_checkpointing": True, "max_length": 256}
    for candidate in plan(scene, training=training).candidates:
        assert candidate.setup.precision == "bf16-pure"
        assert candidate.setup.gradient_checkpointing
        assert candidate.setup.sequence_length == 256


def test_a_cpu_without_bf16_trains_in_fp32(scene: Any) -> None:
    made = plan(scene, model="smollm2", gpu_gib=None)
    assert {c.setup.precision for c in made.candidates} == {"fp32"}
    assert {c.setup.gpus for c in made.candidates} == {1}


def test_a_cpu_with_bf16_computes_in_it(scene: Any) -> None:
    _, facts = scene(model="smollm2", gpu_gib=None)
    able = facts.hardware.model_copy(update={"bf16": True})
    assert precisions(able, TrainingSpec())[0] == "bf16-mixed"


def test_precisions_are_tried_from_the_safest(scene: Any) -> None:
    _, facts = scene()
    assert precisions(facts.hardware, TrainingSpec()) == ("bf16-mixed", "bf16-pure")
    assert precisions(facts.hardware, TrainingSpec(precision="fp32")) == ("fp32",)


TURING = {"bf16": False, "bf16_tflops": None, "fp16_tflops": 65.0, "fp32_tflops": 8.1}


def test_cards_without_bf16_compute_in_scaled_float16(scene: Any) -> None:
    half = plan(scene, gpu_gib=15.0, hardware=TURING).candidate("qlora")
    assert half.setup.precision == "fp16-mixed"
    assert any("the loss is scaled" in note for note in half.setup_notes)
    # Its loss is scaled after it is made, which takes the logits of all tokens.
    assert half.memory.peak_gib > plan(scene, gpu_gib=15.0).candidate("qlora").memory.peak_gib
    slow = plan(scene, gpu_gib=15.0, hardware=TURING | {"fp16_tflops": None}).candidate("qlora")
    assert slow.setup.precision == "fp32"
    assert any("cards without tensor cores" in note for note in slow.setup_notes)
    assert slow.duration.seconds > 3 * half.duration.seconds


def test_float16_is_not_for_models_that_leave_its_range(scene: Any) -> None:
    facts = {"gpu_gib": 15.0, "hardware": TURING, "model_changes": {"model_type": "gemma2"}}
    wide = plan(scene, **facts).candidate("qlora")
    assert wide.setup.precision == "fp32"
    assert any("gemma2, whose activations leave its range" in note for note in wide.setup_notes)


def test_logits_of_answers_alone_are_planned(scene: Any) -> None:
    smaller = {"model": "smollm2", "gpu_gib": 15.0, "training": {"max_length": 512}}
    whole, part = (
        plan(scene, **smaller, lengths={"output_share": share}).candidate("full")
        for share in (None, 0.1)
    )
    assert part.duration.seconds < whole.duration.seconds
    assert "logits of 10% of the tokens" in " ".join(part.memory.assumptions)


def test_no_evaluation_batch_is_larger_than_the_split(scene: Any) -> None:
    made = plan(scene, model="smollm2", rows=28)
    assert all(one.setup.evaluation_batch <= 6 for one in made.candidates)


def test_the_heaviest_configuration_of_the_range_fits_too(scene: Any) -> None:
    spec, facts = scene(gpu_gib=24.0)
    lora: Candidate = make_plan(spec, facts).candidate("lora")
    setup = Setup(
        strategy="lora",
        r=int(lora.parameters["r"].high or 0),
        micro_batch=lora.setup.micro_batch,
        gradient_accumulation_steps=lora.setup.gradient_accumulation_steps,
        sequence_length=lora.setup.sequence_length,
        gradient_checkpointing=lora.setup.gradient_checkpointing,
        precision=lora.setup.precision,
        evaluation_batch=lora.setup.evaluation_batch,
        lora_dropout=0.0,
        loss="by-rows",
    )
    assert estimate(facts.models[0], setup, 24.0).high_gib <= 24.0


def test_nothing_fits_says_why_and_what_would(scene: Any) -> None:
    with pytest.raises(NothingFits) as caught:
        plan(scene, model="70B", gpu_gib=8.0156)
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert "the device has 8.02 (smallest" in text
    assert "would fit" in text


def test_a_strategy_left_out_by_rule_competes_if_nothing_else_fits(scene: Any) -> None:
    # 4-bit is left out where LoRA fits easily; long texts can make that untrue.
    lengths = {"mean": 3000.0, "p50": 3000, "p90": 4000, "p99": 4090, "longest": 4096}
    made = plan(scene, model="smollm2", gpu_gib=24.0, lengths=lengths)
    assert made.candidates
