from __future__ import annotations

import json

import pytest
from section_figures import figures_of

from sweeper.findings.compute import compute
from sweeper.reporting.sections import spending
from sweeper.reporting.sections.spending import PredictedFigure, took_sentence
from sweeper.runfolder import RunFolder


def of_kind(run, what):
    return {p.strategy: p for p in figures_of(run, spending).predictions if p.what == what}


def test_trials_and_peaks_stand_beside_the_plans_figures(make):
    run = make()
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    plan = json.loads(folder.plan.read_text())
    planned = {c["strategy"]: c["duration"]["seconds"] for c in plan["candidates"]}
    trials, peaks = of_kind(folder, "trial"), of_kind(folder, "memory")
    assert trials
    for strategy, prediction in trials.items():
        assert prediction.predicted == planned[strategy]
        assert prediction.actual > 0
        assert prediction.factor == pytest.approx(prediction.actual / planned[strategy])
    for prediction in peaks.values():
        assert prediction.predicted > 0
        assert prediction.low <= prediction.predicted <= prediction.high


def test_the_line_of_a_sweep_has_what_it_took_and_what_was_planned():
    sweep = PredictedFigure(
        what="sweep", unit="s", predicted=300, low=150, high=600, actual=360, trials=20
    )
    assert took_sentence([sweep]) == "Took 6 min, planned 5 min (2-10 min)."
    assert took_sentence([]) == ""
    busy = sweep.model_copy(update={"disturbed": 0.25})
    assert busy.factor == pytest.approx(0.9)
    assert "25%" in took_sentence([busy])


def test_a_sweep_took_what_its_planned_phases_took(make):
    run = make()
    plan, status = (json.loads(path.read_text()) for path in (run.plan, run.status))
    budget = plan["budget"]
    text = {"seconds": 60.0, "low": 30.0, "high": 90.0}
    curve = {"seconds": 50.0, "low": 20.0, "high": 80.0}  # which was not made
    budget["phases"] = {
        "texts": text,
        "search": {"seconds": 130.0, "low": 70.0, "high": 340.0},
        "data_curve": curve,
        "suite": text,
    }
    budget["features"] = {
        "data_curve": {"title": "data curve", "seconds": 50.0},
        "suite": {"title": "suite", "seconds": 60.0},
        "texts": {"title": "texts", "seconds": 60.0, "in_search": True},
    }
    run.plan.write_text(json.dumps(plan))
    took = {"suite": 70.0, "conversion": 20.0}  # the conversion was not planned
    run.status.write_text(
        json.dumps({**status, "phase": "complete", "seconds": 200.0} | {"phases": took})
    )
    first = run.trial(0) / "result.json"  # the base wrote while it waited, so that it is no setup
    first.write_text(
        json.dumps(json.loads(first.read_text()) | {"feature_seconds": {"texts": 12.0}})
    )
    found = [p for p in figures_of(run, spending).predictions if p.unit == "s" and not p.strategy]
    assert {p.what: p.actual for p in found} == {"sweep": 200.0, "suite": 70.0, "texts": 12.0}
    assert (found[0].predicted, found[0].low, found[0].high) == (250.0, 130.0, 520.0)


def test_every_phase_and_money_stand_beside_the_plan(make):
    run = make()
    plan, status = (json.loads(path.read_text()) for path in (run.plan, run.status))
    planned = {"seconds": 100.0, "low": 50.0, "high": 200.0}
    part = {"seconds": 40.0, "low": 20.0, "high": 80.0}
    small = {"seconds": 10.0, "low": 5.0, "high": 20.0}
    plan["budget"] |= {
        "phases": {"baselines": small, "search": part, "confirmation": part, "test": small},
        "sweep": planned, "gpu_hours": 2.0, "cost_low_usd": 0.0002, "cost_usd": 0.0004,
        "cost_high_usd": 0.0008,
    }  # fmt: skip
    run.plan.write_text(json.dumps(plan))
    took = {"baselines": 15.0, "search": 45.0, "confirmation": 20.0, "test": 10.0}
    run.status.write_text(
        json.dumps({**status, "phase": "complete", "seconds": 90.0} | {"phases": took})
    )
    for place in run.path.glob("trials/*/**/result.json"):
        result = json.loads(place.read_text())
        spent = sum(result[f"{of}_seconds"] for of in ("training", "evaluation", "setup"))
        place.write_text(json.dumps(result | {"waited_seconds": spent / 10}))
    found = {p.what: p for p in figures_of(run, spending).predictions if not p.strategy}
    assert {name: p.actual for name, p in found.items()} == pytest.approx(
        {"sweep": 90, "search": 60, "confirmation": 20, "test": 10, "money": 0.00036}
    )
    assert found["search"].predicted == 50
    assert (found["sweep"].predicted, found["money"].predicted) == (100.0, 0.0004)
    assert found["sweep"].disturbed == pytest.approx(0.1)
    assert found["sweep"].factor == pytest.approx(0.81)


def test_only_trials_of_a_full_budget_are_set_beside_the_plan(make):
    run = make()
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    before = of_kind(folder, "trial")["lora"].trials
    shorter = folder.trial(0)  # the default of LoRA, as if it had overfitted
    lines = (shorter / "rungs.jsonl").read_text().splitlines(keepends=True)
    (shorter / "rungs.jsonl").write_text("".join(lines[:-1]))
    after = of_kind(folder, "trial")["lora"]
    assert after.trials == before - 1


def test_only_the_default_is_set_beside_the_planned_memory_of_the_default(make):
    run = make()
    searched = run.trial(3) / "result.json"  # of another rank than the default of LoRA, trial 0
    result = json.loads(searched.read_text())
    searched.write_text(json.dumps(result | {"peak_memory_gib": 99.0}))
    findings = compute(run)
    assert of_kind(run, "memory")["lora"].actual < 99.0
    lora = next(one for one in findings.strategies if one.strategy == "lora")
    assert lora.peak_memory_gib == 99.0
