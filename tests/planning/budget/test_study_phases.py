from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeper.facts.gather import gather
from sweeper.hyperparameters import BATCH
from sweeper.memory.setup import Setup
from sweeper.planning.budget.study_phases import timed_candidate, workload_of
from sweeper.planning.costs.trial_seconds import Workload, setup_times
from sweeper.planning.planner import make_plan
from sweeper.plans import Duration
from sweeper.specfile import resolve


def test_weights_that_are_here_cost_nothing(scene: Any) -> None:
    budget = make_plan(*scene()).budget
    assert not budget.phases.keys() & {"download", "conversion"}
    assert not any("download" in note for note in budget.notes)


def test_a_download_takes_its_bytes_at_the_assumed_rate_and_is_paid(scene: Any) -> None:
    here = make_plan(*scene()).budget
    budget = make_plan(*scene(model_changes={"missing": "download"})).budget
    download = budget.phases["download"]
    # 6.74 billion parameters in bfloat16 at 100 Mbit/s
    assert download.seconds == pytest.approx(1078, rel=0.01)
    assert download.low < download.seconds / 5
    assert download.high > download.seconds * 2
    assert budget.gpu_hours == pytest.approx(
        (here.gpu_hours or 0) + download.seconds / 3600, rel=0.001
    ), "a rented machine is paid while it downloads"
    (note,) = [note for note in budget.notes if "download" in note]
    assert "12.6 GiB" in note
    assert "assumed 100 Mbit/s" in note


def test_a_conversion_takes_as_long_as_it_was_measured(scene: Any) -> None:
    spec, facts = scene(model="smollm2", gpu_gib=None, model_changes={"missing": "conversion"})
    conversion = make_plan(spec, facts).budget.phases["conversion"]
    assert conversion.seconds == pytest.approx(25.8, abs=0.1)
    assert conversion.low < 20.5 < 36.8 < conversion.high


def small(scene: Any, **changes: Any) -> Any:
    return scene(model="minilm", task="classification", gpu_gib=None, **changes)


def workload(spec: Any, facts: Any) -> Workload:
    return replace(
        workload_of(spec, facts, facts.models[0], epochs=1.0), rung_every=1, rung_items=50
    )


def test_a_sweep_is_the_sum_of_its_phases(scene: Any) -> None:
    budget = make_plan(*small(scene)).budget
    assert list(budget.phases) == ["baselines", "search", "confirmation", "test"]
    parts = budget.phases.values()
    assert budget.sweep.seconds == pytest.approx(sum(p.seconds for p in parts), abs=0.01)
    assert budget.sweep.low < budget.sweep.seconds < budget.sweep.high


def test_smaller_batches_and_more_modules_take_longer(scene: Any) -> None:
    spec, facts = small(scene)
    plan, run = make_plan(spec, facts), workload(spec, facts)
    setup = Setup(
        strategy="lora", micro_batch=16, sequence_length=20, evaluation_batch=64,
        precision="fp32", classes=run.classes, device="cpu", target_modules=("q_proj",),
    )  # fmt: skip
    model, hardware = facts.models[0], plan.facts.hardware
    seconds = setup_times(model, setup, hardware).full_trial_seconds(run)
    for slower in ({"micro_batch": 4}, {"target_modules": "all-linear"}, {"strategy": "full"}):
        assert (
            setup_times(model, setup.replace(**slower), hardware).full_trial_seconds(run) > seconds
        )


def test_the_search_is_priced_by_the_batches_that_it_will_try(scene: Any) -> None:
    spec, facts = small(scene)
    candidate = make_plan(spec, facts).candidate("lora")
    batch = candidate.parameters[BATCH]
    tiny = batch.model_copy(update={"choices": (1, 2), "prior": None, "searched": True})
    changed = candidate.model_copy(update={"parameters": {**candidate.parameters, BATCH: tiny}})
    cheap, dear = (timed_candidate(c, facts, workload(spec, facts)) for c in (candidate, changed))
    assert dear.default_seconds == pytest.approx(cheap.default_seconds)
    assert dear.searched_seconds > 1.2 * cheap.searched_seconds


def test_a_frozen_head_is_made_by_its_baseline(scene: Any) -> None:
    spec, facts = small(scene)
    plan = make_plan(spec, facts)
    assert timed_candidate(plan.candidate("head"), facts, workload(spec, facts)).free
    assert not timed_candidate(plan.candidate("lora"), facts, workload(spec, facts)).free


def test_workers_share_the_cores_of_a_processor(scene: Any) -> None:
    """Products gain nothing; the interpreter's work, which one thread does, is done twice over."""
    one, two = (make_plan(*small(scene, search={"workers": n})) for n in (1, 2))
    assert one.candidates[0].duration.seconds < two.candidates[0].duration.seconds
    alone, shared = (plan.budget.phases["search"].seconds for plan in (one, two))
    assert alone / 2 < shared < alone
    assert one.budget.gpu_hours > two.budget.gpu_hours


def test_text_answers_cost_time_on_the_test_split(scene: Any) -> None:
    spec, facts = scene(model="smollm2", gpu_gib=None)
    silent = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"generate_items": 0})}
    )
    written, quiet = (make_plan(s, facts).budget.phases["test"] for s in (spec, silent))
    assert written.seconds > quiet.seconds


def test_money_comes_from_the_sweep_as_a_range(scene: Any) -> None:
    budget = make_plan(*scene(price=2.0)).budget
    hours = [seconds / 3600 for seconds in (budget.sweep.low, budget.sweep.high)]
    ends = [budget.cost_low_usd, budget.cost_high_usd]
    assert ends == pytest.approx([2.0 * each for each in hours], abs=0.01)
    assert make_plan(*small(scene)).budget.cost_usd is None


def test_the_money_of_a_short_sweep_on_a_cpu_is_not_rounded_away(scene: Any) -> None:
    spec, facts = small(scene)
    cheap = facts.hardware.model_copy(update={"price_per_gpu_hour": 0.001})
    budget = make_plan(spec, facts.model_copy(update={"hardware": cheap})).budget
    hours = budget.sweep.seconds / 3600
    assert budget.cost_usd == pytest.approx(0.001 * hours, rel=0.01)
    assert 0 < budget.cost_usd < 0.005


def test_the_plan_says_whether_its_times_are_calibrated(scene: Any) -> None:
    spec, facts = small(scene)
    assert "not calibrated" in make_plan(spec, facts).budget.timing[0]
    hardware = facts.hardware.model_copy(update={"calibrated": "2026-01-31"})
    known = make_plan(spec, facts.model_copy(update={"hardware": hardware})).budget
    assert "calibrated on 2026-01-31" in known.timing[0]


def test_where_only_its_memory_is_known_a_trial_takes_as_long_as_on_any_such_card() -> None:
    def trial(**hardware: Any) -> Duration:
        asked: dict[Any, Any] = {
            ("task",): "instruction",
            ("models", 0, "id"): "7B",
            ("data", "examples"): 5000,
            **{("hardware", name): value for name, value in hardware.items()},
        }
        spec = resolve(asked)
        return make_plan(spec, gather(spec)).candidate("lora").duration

    stated, slow, fast = (
        trial(gpu_memory_gib=24.0),
        trial(gpu="L4", gpu_memory_gib=24.0),
        trial(gpu="RTX 4090", gpu_memory_gib=24.0),
    )
    assert stated.low == pytest.approx(fast.low, rel=0.03)  # another set-up is best on that card
    assert stated.high >= slow.high * 0.99
    assert stated.low < slow.low
