from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.machine.measured import shape_of
from sweeper.facts.models.model import model_facts
from sweeper.facts.record import HardwareFacts, Measured, StepExtra, TrainingSetup
from sweeper.memory.estimate import estimate, trial_gib
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import correction_for, ran_out, with_measured_peak
from sweeper.planning.costs.setups import measured_setup
from sweeper.planning.costs.step_time import of_one_worker, speed_of, step_seconds
from sweeper.planning.planner import make_plan
from sweeper.spec import ModelSpec

MINILM = model_facts(ModelSpec(id="sentence-transformers/all-MiniLM-L6-v2"))
CPU = HardwareFacts(
    device="cpu", name="cpu", detected=True, gpus=0, memory_gib=16, bf16=False, cpu_cores=2
)
SETUP = Setup(
    strategy="lora", micro_batch=8, sequence_length=16, precision="fp32", classes=5, device="cpu"
)


def one(**changes: Any) -> Measured:
    """A training of MiniLM with LoRA."""
    fields: dict[str, Any] = {
        "shape": shape_of(MINILM),
        "strategy": "lora",
        "precision": "fp32",
        "micro_batch": 8,
        "gradient_accumulation_steps": 1,
        "mean_length": 16,
        "sequence_length": 32,
        "evaluation_batch": 32,
        "r": 8,
        "target_modules": "qv",
        "when": "2026-01-01",
    }
    fields |= changes
    setup = {name: fields.pop(name) for name in TrainingSetup.model_fields if name in fields}
    return Measured(setup=TrainingSetup(**setup), **fields)


def timed(factor: float, **changes: Any) -> Measured:
    """One that took so many times what the formula says."""
    plain = one(**changes)
    formula = step_seconds(MINILM, measured_setup(plain, 5, "cpu"), speed_of(CPU, SETUP))
    return plain.model_copy(update={"seconds_per_step": factor * formula})


def learned(*measured: Measured, setup: Setup = SETUP) -> Any:
    hardware = CPU.model_copy(update={"measured": measured})
    return correction_for(MINILM, setup, hardware, speed_of(hardware, setup))


def test_nothing_measured_corrects_nothing() -> None:
    assert (learned().training, learned().source) == (1.0, "")
    other = timed(3.0).model_copy(update={"shape": "other"})
    assert learned(other).training == 1.0


def test_trainings_of_the_strategy_correct_it_by_their_mean_factor() -> None:
    found = learned(timed(2.0), timed(0.5, micro_batch=4), timed(4.0, micro_batch=2))
    assert found.training == pytest.approx(4.0 ** (1 / 3))
    assert found.source.startswith("measured here on 2026-01-01: 3 trainings of lora, ")


def test_a_training_on_fewer_threads_teaches_one_on_all() -> None:
    half = of_one_worker(CPU, 2)
    plain = one(threads=1)
    alone = step_seconds(MINILM, measured_setup(plain, 5, "cpu"), speed_of(half, SETUP))
    found = learned(plain.model_copy(update={"seconds_per_step": 2 * alone}))
    assert found.training == pytest.approx(2.0)
    assert half.cpu_cores == 1
    assert speed_of(half, SETUP).flops == speed_of(CPU, SETUP).flops / 2
    assert of_one_worker(CPU, 1) == CPU
    assert of_one_worker(CPU, 5).cpu_cores == 1


def test_other_strategies_count_only_where_there_is_none_of_its_own() -> None:
    full = timed(3.0, strategy="full", r=None, target_modules=None)
    assert learned(full).training == pytest.approx(3.0)
    assert "full of this model" in learned(full).source
    assert learned(full, timed(2.0)).training == pytest.approx(2.0)


def test_more_trainings_weigh_more() -> None:
    many = timed(2.0).model_copy(update={"trainings": 3})
    assert learned(many, timed(1.0, micro_batch=4)).training == pytest.approx(2.0**0.75)


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ({}, True), ({"micro_batch": 16}, True), ({"sequence_length": 64}, True),
        ({"micro_batch": 4}, False), ({"sequence_length": 8}, False),
        ({"gradient_checkpointing": True}, False), ({"strategy": "full"}, False),
    ],
)  # fmt: skip
def test_what_ran_out_of_memory_rules_out_what_needs_as_much(
    setup: dict[str, Any], expected: bool
) -> None:
    failed = one(out_of_memory=True, sequence_length=16)
    hardware = CPU.model_copy(update={"measured": (failed,)})
    fields = {"strategy": "lora", "micro_batch": 8, "sequence_length": 16, "precision": "fp32"}
    assert ran_out(MINILM, Setup(**(fields | setup)), hardware) is expected


@pytest.mark.parametrize(("factor", "raised"), [(1.5, True), (0.5, False)])
def test_a_peak_above_the_formulas_raises_it_and_one_below_does_not(
    factor: float, raised: bool
) -> None:
    plain = one()
    at_cap = Setup(
        strategy="lora", micro_batch=8, sequence_length=32, precision="fp32", classes=5,
        device="cpu", r=8, target_modules=("q_proj", "v_proj"), evaluation_batch=32,
        evaluation_length=32,
    )  # fmt: skip
    formula = estimate(MINILM, at_cap, 16.0)
    peak = plain.model_copy(update={"peak_gib": factor * trial_gib(formula)})
    hardware = CPU.model_copy(update={"measured": (peak,)})
    found = with_measured_peak(formula, MINILM, at_cap, hardware)
    assert (found.peak_gib > formula.peak_gib) is raised
    assert sum(found.parts.values()) == pytest.approx(found.peak_gib)
    if raised:
        grown = found.peak_gib - formula.peak_gib
        assert grown == pytest.approx((factor - 1) * trial_gib(formula))


def test_a_plan_says_what_it_learned_and_is_a_function_of_its_facts(scene: Any) -> None:
    spec, facts = scene(model="minilm", task="classification", gpu_gib=None)
    plain = make_plan(spec, facts)
    model = facts.models[0]
    slow = one(shape=shape_of(model), seconds_per_step=2.0)
    hardware = facts.hardware.model_copy(update={"measured": (slow,)})
    taught = facts.model_copy(update={"hardware": hardware})
    again = make_plan(spec, taught)
    lora = again.candidate("lora")
    assert lora.duration.seconds > 2 * plain.candidate("lora").duration.seconds
    assert any("measured here on 2026-01-01" in text for text in again.budget.timing)
    assert again.to_json() == make_plan(spec, type(taught).from_json(taught.to_json())).to_json()


def test_a_setup_that_ran_out_is_not_planned_again(scene: Any) -> None:
    spec, facts = scene(model="minilm", task="classification", gpu_gib=None)
    before = make_plan(spec, facts).candidate("full")
    assert before.setup.micro_batch > 1
    failed = one(
        shape=shape_of(facts.models[0]), strategy="full", out_of_memory=True,
        micro_batch=before.setup.micro_batch, sequence_length=8, r=None, target_modules=None,
    )  # fmt: skip
    hardware = facts.hardware.model_copy(update={"measured": (failed,)})
    after = make_plan(spec, facts.model_copy(update={"hardware": hardware})).candidate("full")
    assert after.setup.micro_batch < before.setup.micro_batch or after.setup.gradient_checkpointing


def test_a_probe_counts_until_a_trial_says_more() -> None:
    probed = timed(4.0, mean_length=24, probe="a", classes=5)
    assert learned(probed).training == pytest.approx(4.0)
    assert "1 probe of lora" in learned(probed).source
    both = learned(probed, timed(2.0))
    assert both.training == pytest.approx(2.0)
    assert "1 training of lora" in both.source


def test_what_spoke_the_vocabulary_teaches_nothing_about_a_head() -> None:
    spoken = timed(4.0, classes=0)
    assert learned(spoken).training == 1.0
    assert learned(timed(4.0, classes=77)).training == pytest.approx(4.0)
    too_large = CPU.model_copy(update={"measured": (one(classes=0, out_of_memory=True),)})
    assert not ran_out(MINILM, SETUP, too_large)


@pytest.mark.parametrize("extra", [StepExtra(further_share=0.2), StepExtra(reference=True)])
def test_trainings_with_more_in_a_step_teach_about_such_alone(extra: StepExtra) -> None:
    extended, plain = timed(4.0, extra=extra), timed(2.0)
    with_extra = SETUP.replace(extra=extra)
    assert learned(extended).training == 1.0
    assert learned(extended, plain).training == pytest.approx(2.0)
    assert learned(extended, plain, setup=with_extra).training == pytest.approx(4.0)
    assert learned(plain, setup=with_extra).training == pytest.approx(2.0)


def test_what_a_measured_step_had_more_is_part_of_the_formula_it_is_compared_with() -> None:
    speed = speed_of(CPU, SETUP)
    plain = step_seconds(MINILM, measured_setup(one(), 0, "cpu"), speed)
    again = step_seconds(
        MINILM, measured_setup(one(extra=StepExtra(further_share=0.2)), 0, "cpu"), speed
    )
    near = step_seconds(
        MINILM, measured_setup(one(extra=StepExtra(reference=True)), 0, "cpu"), speed
    )
    assert plain < again < 1.3 * plain
    assert plain < near


def test_what_ran_out_beside_its_base_says_nothing_of_a_model_alone() -> None:
    failed = one(out_of_memory=True, extra=StepExtra(reference=True))
    hardware = CPU.model_copy(update={"measured": (failed,)})
    cap = SETUP.replace(sequence_length=32)
    assert not ran_out(MINILM, cap, hardware)
    assert ran_out(MINILM, cap.replace(extra=StepExtra(reference=True)), hardware)


def test_a_peak_beside_the_base_raises_that_of_such_trials_alone() -> None:
    plain = estimate(MINILM, SETUP, 16.0)
    beside = one(extra=StepExtra(reference=True), peak_gib=5 * trial_gib(plain))
    hardware = CPU.model_copy(update={"measured": (beside,)})
    assert with_measured_peak(plain, MINILM, SETUP, hardware) == plain
    near = SETUP.replace(extra=StepExtra(reference=True))
    formula = estimate(MINILM, near, 16.0)
    assert with_measured_peak(formula, MINILM, near, hardware).peak_gib > formula.peak_gib
