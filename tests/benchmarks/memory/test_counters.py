from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.memory.counters import FITTED, shapes_of, shown
from benchmarks.memory.records import Case, case_of
from benchmarks.memory.score import fit, fitting, rows_of
from sweeper.memory.estimate import phases

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference" / "memory.json"
ROW = {
    "model": "Llama-2-7B", "n_params": 6_738_415_616, "method": "lora", "micro_batch": 4,
    "sequence_length": 1024, "sequence_length_kind": "fixed (packed)", "measured": "reserved",
    "gradient_checkpointing": True, "loss_impl": "plain cross-entropy",
}  # fmt: skip


def _case(**change: object) -> Case:
    return case_of({**ROW, **change}, "a")


def test_the_reserve_is_whole_logits_once_more_and_a_share_of_what_else_moves() -> None:
    case, share = _case(), FITTED.reserve["fixed"]
    tokens, vocabulary = case.setup.tokens, case.model.vocabulary_size
    again = _loss_bytes(case)
    assert again > 4 * tokens * vocabulary / 2**30
    one = shown(case)
    assert one.reserve == pytest.approx(again + share * (one.moving - again))
    fused = shown(_case(loss_impl="fused linear cross-entropy"))
    assert fused.reserve == pytest.approx(share * fused.moving)
    steps = [shown(_case(method="full", optimizer=name)) for name in ("adamw_torch_fused", "sgd")]
    assert steps[0].tensors > 1.5 * steps[1].tensors
    assert steps[0].reserve == pytest.approx(steps[1].reserve)  # states leave no gaps


def _loss_bytes(case: Case) -> float:
    steps = {phase.name: phase for phase in phases(case.model, case.setup)}
    return steps["loss"].parts["logits and loss"] / 2**30


def test_what_leaves_gaps() -> None:
    assert shapes_of(_case()) == "logits"
    assert shapes_of(_case(loss_impl="fused linear cross-entropy")) == "fixed"
    assert shapes_of(_case(sequence_length_kind="max (cap)")) == "changing"
    emptied = {"notes": "allocator cache emptied every 10 steps"}
    assert shapes_of(_case(sequence_length_kind="max (cap)", **emptied)) == "fixed"


def test_no_counter_shows_more_than_the_card_has() -> None:
    case = replace(_case(sequence_length_kind="max (cap)"), limit_gib=24.0)
    assert shown(replace(case, limit_gib=None)).high > 24
    assert shown(case).high <= 23.5


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published measurements are not here")
def test_the_constants_are_what_the_measurements_give() -> None:
    fitted = fit(fitting(rows_of(json.loads(REFERENCE.read_text(encoding="utf-8")))))
    assert {name: round(share, 2) for name, share in fitted.reserve.items()} == FITTED.reserve
    for name, band in FITTED.bands.items():
        found = fitted.bands[name]
        assert (round(found.below, 2), round(found.above, 2)) == (band.below, band.above)
