from __future__ import annotations

from typing import Any

import pytest

from sweeper.errors import NothingFits
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.budget.study_phases import STACK
from sweeper.planning.planner import make_plan
from sweeper.spec import ParameterSpec

PROMPTS = {"aim": {"strategies": ("ptuning", "lora")}}
LONGER = {"mean": 300.0, "p50": 280, "p90": 500, "p99": 1000, "longest": 1000}
LONG = {"mean": 480.0, "p50": 480, "p90": 500, "p99": 500, "longest": 500}


def test_the_rank_may_only_widen_to_what_the_device_holds(scene: Any) -> None:
    spec, facts = scene(gpu_gib=20.0, rows=600_000, aim={"budget": "9000gpuh"})
    lora = make_plan(spec, facts).candidate("lora")
    rank = lora.parameters["r"]
    assert rank.high is not None
    assert rank.allowed_high is not None
    assert rank.high <= rank.allowed_high < 256
    setup = Setup(
        strategy="lora",
        r=int(rank.allowed_high),
        micro_batch=lora.setup.micro_batch,
        gradient_accumulation_steps=lora.setup.gradient_accumulation_steps,
        sequence_length=lora.setup.sequence_length,
        gradient_checkpointing=lora.setup.gradient_checkpointing,
        precision=lora.setup.precision,
        optimizer=lora.setup.optimizer,
        evaluation_batch=lora.setup.evaluation_batch,
        lora_dropout=0.0,
        loss="by-rows",
    )
    assert estimate(facts.models[0], setup, 20.0).high_gib <= 20.0


def test_lora_keeps_its_master_weights_where_states_of_eight_bits_fit(scene: Any) -> None:
    lora = make_plan(*scene(gpu_gib=16.0)).candidate("lora")
    assert (lora.setup.precision, lora.setup.optimizer) == ("bf16-mixed", "adamw_bnb_8bit")
    assert make_plan(*scene(gpu_gib=80.0)).candidate("lora").setup.optimizer == "adamw_torch_fused"


def test_with_room_the_whole_allowed_range_stays(scene: Any) -> None:
    lora = make_plan(*scene(model="smollm2", rows=20_000, gpu_gib=80.0)).candidate("lora")
    assert lora.parameters["r"].searched
    assert lora.parameters["r"].allowed_high == 256


def test_virtual_tokens_stay_within_the_models_context(scene: Any) -> None:
    facts = {"task": "classification", "model": "minilm", "labels": 2, "gpu_gib": None}
    lengths = {"mean": 470.0, "p50": 470, "p90": 480, "p99": 480, "longest": 480}
    made = make_plan(*scene(lengths=lengths, **facts, **PROMPTS))
    tokens = made.candidate("ptuning").parameters["num_virtual_tokens"]
    assert tokens.allowed_high == 512 - 480
    assert float(tokens.default) <= 32


def test_prompts_without_room_in_the_context_are_refused_with_the_reason(scene: Any) -> None:
    facts = {"task": "classification", "model": "minilm", "labels": 2, "gpu_gib": None}
    lengths = {"mean": 500.0, "p50": 500, "p90": 510, "p99": 512, "longest": 512}
    made = make_plan(*scene(lengths=lengths, **facts, **PROMPTS))
    refused = next(item for item in made.rejected if item.strategy == "ptuning")
    assert "leave room for 0 virtual ones" in refused.reason
    assert "--max-length" in refused.remedy


@pytest.mark.parametrize(
    ("model", "gib", "rows", "rank"),
    [
        ("7B", 5.4, 4_000, 8),
        ("13B", 9.2, 4_000, 8),
        ("7B", 6.0, 600_000, 64),
        ("7B", 8.0, 4_000, 16),
    ],
)
def test_a_rank_narrows_before_a_strategy_is_refused(
    scene: Any, model: str, gib: float, rows: int, rank: int
) -> None:
    facts = {"model": model, "rows": rows, "gpu_gib": gib, "lengths": LONGER}
    made = make_plan(*scene(**facts, aim={"budget": "9000gpuh"})).candidate("qlora").parameters["r"]
    assert (made.default, made.searched) == (rank, rows > 4_000)
    if "do not fit" in made.why:
        assert made.allowed_high == made.high == rank
    else:
        assert (rank, made.allowed_high) == (16, 256)
    declared = {"qlora": {"r": ParameterSpec(choices=(64,))}}
    with pytest.raises(NothingFits):  # what the user declared is not changed
        make_plan(*scene(**facts | {"gpu_gib": 5.4}, request={"parameters": declared}))


@pytest.mark.parametrize("task", ["classification", "instruction", "code", "domain"])
def test_rank_and_layers_are_searched_only_where_the_data_exceed_the_rank(
    scene: Any, task: str
) -> None:
    def searched(**facts: Any) -> list[bool]:
        parameters = make_plan(*scene(task, **facts)).candidate("lora").parameters
        return [parameters[name].searched for name in ("r", "target_modules")]

    assert searched(labels=2 * (task == "classification")) == [False, False]
    if task != "classification":
        many = {"rows": 900_000, "model": "smollm2"}
        assert searched(**many) == [True, False]
        assert searched(**many | {"rows": 2_000}) == [False, False]
    declared = {
        "r": ParameterSpec(low=8, high=64),
        "target_modules": ParameterSpec(choices=("qkvo", "all-linear")),
    }
    assert searched(request={"parameters": {"lora": declared}}) == [True, True]


def test_the_stack_that_times_assume_is_named_on_gpus(scene: Any) -> None:
    budget = make_plan(*scene(model="smollm2", gpu_gib=24.0)).budget
    assert any(STACK in text for text in budget.timing)
