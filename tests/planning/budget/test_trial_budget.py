"""How often a trial is looked at, and on how many items: never for more than a tenth of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.execution.next_attempt import trial_budget
from sweeper.facts.dataset.stated import assumed_lengths
from sweeper.facts.gather import gather
from sweeper.memory.setup import Setup
from sweeper.planning.budget.study_phases import workload_of
from sweeper.planning.budget.trial_budget import (
    EVALUATION_SHARE,
    FORWARD_SHARE,
    MIN_RUNG_ITEMS,
    RUNGS,
    SPACINGS,
    affordable,
    sequence_cap,
)
from sweeper.planning.costs.trial_seconds import setup_times
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.specfile import resolve


@given(
    st.floats(0, 1e5), st.integers(1, 5000), st.floats(1, 50), st.floats(0, 100),
    st.sampled_from(SPACINGS),
)  # fmt: skip
def test_looks_cost_what_is_left_or_are_as_few_as_may_be(
    passes: float, rows: int, cost: float, beside: float, widest: int
) -> None:
    scored = affordable(passes, rows, widest, cost=cost, at_rung=beside, at_end=rows * cost)
    enough = min(MIN_RUNG_ITEMS, rows)
    assert enough <= scored.items <= rows
    assert scored.every <= widest
    assert RUNGS % scored.every == 0
    assert scored.before_last >= 1
    paid = scored.before_last * (scored.items * cost + beside)
    assert scored.every == widest or paid <= passes + 1e-6
    assert scored.items == enough or paid + rows * cost <= passes + 1e-6


def _plan(scene: Any, rows: int, **changes: Any) -> Plan:
    training = {"epochs": 1.0} | changes.pop("training", {})
    search = {"trials": 9}
    return make_plan(
        *scene("instruction", "smollm2", rows, gpu_gib=None, training=training, search=search,
               **changes)
    )  # fmt: skip


@pytest.mark.parametrize(("rows", "every"), [(7000, 1), (2150, 1), (1000, 2), (430, 4), (80, 4)])
def test_where_a_look_at_every_rung_costs_too_much_there_are_fewer(
    scene: Any, rows: int, every: int
) -> None:
    budget = _plan(scene, rows).budget
    assert (budget.rung_every, budget.rungs) == (every, RUNGS)
    assert budget.first_rung % every == 0
    note = [text for text in budget.notes if "Trials are scored at rungs" in text]
    assert bool(note) == (every > 1)
    scored = (RUNGS // every - 1) * budget.rung_items
    assert FORWARD_SHARE * scored <= EVALUATION_SHARE * rows * budget.epochs or every == 4
    at_every = (RUNGS - 1) * min(MIN_RUNG_ITEMS, budget.rung_items)
    assert every == 1 or FORWARD_SHARE * at_every > EVALUATION_SHARE * rows * budget.epochs


def test_a_trial_reports_as_often_as_its_plan_says(scene: Any) -> None:
    plan = _plan(scene, 60)
    assert trial_budget(plan, {}).rung_every == plan.budget.rung_every == 4


@pytest.mark.parametrize(
    ("changes", "every"),
    [
        ({}, 4),
        ({"training": {"early_stopping_patience": 3}}, 1),
        ({"request": {"features": {"forgetting": {"max_points": 2.0}}}}, 2),
    ],
)
def test_whoever_wants_trials_to_stop_early_gets_the_looks_for_it(
    scene: Any, changes: dict[str, Any], every: int
) -> None:
    assert _plan(scene, 60, **changes).budget.rung_every == every


def test_general_text_that_is_scored_too_is_counted(scene: Any) -> None:
    short = {"lengths": {"mean": 20.0, "p50": 20, "p90": 30, "p99": 40, "longest": 40}}
    limit = {"request": {"features": {"forgetting": {"max_points": 2.0}}}}
    every = [_plan(scene, 1860, **short, **c).budget.rung_every for c in ({}, limit)]
    assert every == [1, 2]


def test_names_of_classes_make_an_item_dear(scene: Any) -> None:
    cheap, dear = (
        make_plan(
            *scene("classification", "smollm2", 4000, labels=20, training={"classes_by": by})
        ).budget
        for by in ("head", "generate")
    )
    assert (dear.rung_every, -dear.rung_items) > (cheap.rung_every, -cheap.rung_items)


def test_the_time_of_a_trial_has_only_the_looks_that_it_has(scene: Any) -> None:
    spec, facts = scene("instruction", "smollm2", 60, gpu_gib=None, training={"epochs": 1.0})
    model = facts.models[0]
    few = workload_of(spec, facts, model, epochs=1.0)
    times = setup_times(model, Setup(strategy="lora", micro_batch=4, device="cpu"), facts.hardware)
    once = times.scoring_seconds(few, few.validation_rows)
    assert few.rung_every == 4
    assert times.validation_seconds(few) == pytest.approx(2 * once + 2 * 0.1)


def cap(scene: Any, model: str = "7B", **facts: Any) -> Any:
    spec, gathered = scene(model=model, **facts)
    return sequence_cap(spec, gathered, gathered.models[0])


def test_the_cap_holds_99_percent_of_the_examples(scene: Any) -> None:
    found = cap(scene, lengths={"p99": 301, "longest": 304})
    assert found.tokens == 304
    assert "99% of the examples have at most 301 tokens" in found.why
    assert found.longer == ""


def test_a_long_tail_is_cut(scene: Any) -> None:
    facts: dict[str, Any] = {"lengths": {"p99": 300, "longest": 4000}}
    found = cap(scene, **facts)
    assert (found.tokens, found.longer, found.many) == (304, "at most 1%", False)
    assert not make_plan(*scene(**facts)).warnings


def test_a_cap_that_cuts_much_is_warned_about(scene: Any) -> None:
    warnings = make_plan(*scene(training={"max_length": 200})).warnings
    told = next(w.why for w in warnings if "10% to 50% of the examples" in w.why)
    assert "left out if the answer alone is too long" in told
    shape: dict[str, Any] = {"task": "classification", "labels": 2}
    cut = make_plan(*scene(model="minilm", training={"max_length": 200}, **shape)).warnings
    assert any("lose their end" in warning.why for warning in cut)


@pytest.mark.parametrize(
    ("max_length", "cap", "rows"), [(None, 16, 2), (8, 8, 43), (1024, 512, 2), (5, 5, 405)]
)
def test_a_plan_counts_the_rows_beyond_its_cap(
    tmp_path: Path, max_length: int | None, cap: int, rows: int
) -> None:
    texts = ["where is my card"] * 362 + ["where is my new card of this bank"] * 41
    texts += ["word " * 5_300] * 2
    lines = [{"text": f"{text} {n}", "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked: dict[Any, Any] = {
        ("task",): "classification",
        ("models", 0, "id"): "packaged:minilm",
        ("data", "path"): str(data),
        ("training", "max_length"): max_length,
    }
    plan = make_plan(spec := resolve(asked), gather(spec))
    lengths = plan.facts.data.lengths
    assert lengths is not None
    assert lengths.too_long is not None
    assert lengths.too_long.model_dump() == {"cap": cap, "rows": rows, "of": 405, "becomes": "cut"}
    assert lengths.longest > 5_300
    assert {one.setup.sequence_length for one in plan.candidates} == {cap}
    rules = {warning.rule for warning in plan.warnings}
    assert ("sequence-cap" in rules) is (rows > 4)
    assert ("longer-than-context" in rules) is (cap == 512)


def test_the_models_context_bounds_the_cap(scene: Any) -> None:
    lengths = {"mean": 700.0, "p50": 600, "p90": 900, "p99": 1200, "longest": 1300}
    found = cap(scene, "minilm", task="classification", labels=2, lengths=lengths)
    assert found.tokens == 512
    assert (found.longer, found.many) == ("more than half", True)
    assert found.mean == 512


def test_the_users_length_wins_within_the_context(scene: Any) -> None:
    assert cap(scene, training={"max_length": 100}).tokens == 100
    assert cap(scene, training={"max_length": 100_000}).tokens == 4096


@pytest.mark.parametrize("task", ["classification", "instruction", "code", "domain"])
def test_without_data_a_typical_length_stands_in(scene: Any, task: str) -> None:
    spec, facts = scene(task=task)
    data = facts.data.model_copy(update={"lengths": None})
    facts = facts.model_copy(update={"data": data})
    found = sequence_cap(spec, facts, facts.models[0])
    assert found.tokens in (128, 512)
    assert "assumed" in found.why


@given(st.lists(st.integers(1, 9000), min_size=5, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_lengths_give_a_cap_within_the_context(scene: Any, lengths: list[int]) -> None:
    p50, p90, p99, longest = sorted(lengths[1:])
    shape = {"mean": float(lengths[0]), "p50": p50, "p90": p90, "p99": p99, "longest": longest}
    found = cap(scene, lengths=shape)
    assert 1 <= found.tokens <= 4096
    assert found.mean <= found.tokens


def test_assumed_lengths_are_used_wherever_measured_ones_are() -> None:
    asked: dict[Any, Any] = {
        ("task",): "instruction",
        ("models", 0, "id"): "1B",
        ("data", "examples"): 1_000_000,
        ("hardware", "gpu_memory_gib"): 80.0,
    }
    plan = make_plan(spec := resolve(asked), gather(spec))
    lengths = plan.facts.data.lengths
    assert lengths is not None
    assert lengths.assumed
    assert lengths.mean < lengths.p99 == plan.candidates[0].setup.sequence_length
    assert plan.recommended == "full"
    full = plan.candidates[0]
    assert "beyond-lora-capacity" in {reason.rule for reason in plan.candidate("lora").cautions}
    assert any("assumed" in note for note in full.setup_notes)


def test_a_cap_only_caps_and_lengths_are_stated_apart() -> None:
    usual, long = (assumed_lengths("code", mean) for mean in (None, 900))
    assert (usual.mean, long.mean) == (225, 900)
    assert long.p99 == long.longest == 2048
    asked: dict[Any, Any] = {
        ("task",): "instruction",
        ("models", 0, "id"): "1B",
        ("data", "examples"): 1_000,
        ("hardware", "gpu_memory_gib"): 80.0,
    }
    capped, stated = {("training", "max_length"): 2048}, {("data", "assumed_length"): 900}
    plans = [
        make_plan(spec := resolve(asked | more), gather(spec)) for more in ({}, capped, stated)
    ]
    means = [plan.facts.data.lengths.mean for plan in plans if plan.facts.data.lengths]
    assert means == [225, 225, 900]
    assert plans[1].candidates[0].setup.sequence_length == 2048


def test_texts_of_a_corpus_are_divided_and_all_their_tokens_are_planned(scene: Any) -> None:
    lengths = {"mean": 900.0, "p50": 600, "p90": 2000, "p99": 4000, "longest": 6000}
    shape: dict[str, Any] = {
        "task": "domain",
        "lengths": {**lengths, "output_mean": None, "output_share": None},
        "training": {"max_length": 512},
    }
    found = cap(scene, **shape)
    assert found.pieces > 1.7
    assert found.mean * found.pieces == pytest.approx(900)
    plan = make_plan(*scene(**shape))
    rows, epochs = plan.facts.data.train_rows, plan.candidates[0].parameters["num_train_epochs"]
    assert plan.budget.full_tokens == pytest.approx(900 * rows * epochs.default, rel=0.01)
    assert any("trained on in pieces" in warning.why for warning in plan.warnings)
