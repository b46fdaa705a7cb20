from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.facts.dataset.stated import assumed_lengths
from sweeper.facts.gather import gather
from sweeper.planning.budget.sequence_cap import sequence_cap
from sweeper.planning.planner import make_plan
from sweeper.specfile import resolve


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
