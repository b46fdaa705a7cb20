"""A study by another objective: order, verdict, charts and files in its terms."""

from __future__ import annotations

import json

import pytest
from section_figures import figures_of

from sweeper.findings.compute import compute, findings_of
from sweeper.findings.study.reading import read_run
from sweeper.objective import Objective
from sweeper.plans import Plan
from sweeper.reporting.csvfiles import csv_text, trials_table
from sweeper.reporting.sections import cost, strategies
from sweeper.trials import BaselineResult, TrialResult

ACCURACY = Objective(
    name="accuracy", title="accuracy", metric="accuracy", computed_from="classes",
    higher_is_better=True, best=1.0,
)  # fmt: skip


@pytest.fixture
def run(make):
    """A run whose trials were compared by their accuracy: that of trial 4 is made the best."""
    made = make(trials=9, prune=False)
    Plan.read(made.plan).model_copy(update={"objective": ACCURACY}).write(made.plan)
    for path in made.trials.rglob("result.json"):
        result = TrialResult.read(path)
        items = path.with_name("item_losses.json")
        if result.state != "COMPLETE" or not items.is_file():
            continue
        kept = json.loads(items.read_text())
        if result.number == 4:
            kept["scores"] = [1.0] * (len(kept["scores"]) - 1) + [0.0]
        accuracy = sum(kept["scores"]) / len(kept["scores"])
        items.write_text(json.dumps(kept | {"objective": kept["scores"]}))
        metrics = result.metrics | {"accuracy": accuracy}
        update = {"objective": accuracy, "metrics": metrics}
        result.model_copy(update=update).write(path)
    for path in made.baselines.glob("*.json"):
        known = BaselineResult.read(path)
        known.model_copy(update={"objective": known.metrics["accuracy"]}).write(path)
    return made


def test_trials_are_ordered_by_it_and_keep_their_loss(run):
    found = compute(run)
    assert found.objective.name == "accuracy"
    assert found.best_first()[0].number == 4
    best = next(one for one in found.trials if one.number == 4)
    assert best.value == best.result.metrics["accuracy"] > 0.9
    assert (
        best.result.validation_loss
        == TrialResult.read(run.trial(4) / "result.json").validation_loss
    )
    lowest = min(found.trials, key=lambda one: one.result.validation_loss)
    assert lowest.number != 4
    strategy = next(one for one in found.strategies if one.strategy == best.strategy)
    assert (strategy.best_trial, strategy.best_value) == (4, best.value)
    assert strategy.best_interval.low < best.value <= strategy.best_interval.high <= 1.0
    figures = figures_of(run, cost)
    gain = next(one for one in figures.gains if one.strategy == best.strategy)
    assert gain.best.value > gain.default.value
    assert gain.gain.value == pytest.approx(gain.best.value - gain.default.value)
    assert found.last_gain == 4
    assert found.verdict.comparisons[0].metric == "accuracy"


def test_an_unfinished_study_tells_its_best_in_points(run):
    run.test_seal.unlink()
    status = json.loads(run.status.read_text()) | {"phase": "search"}
    run.status.write_text(json.dumps(status))
    told = compute(run).verdict.sentence
    assert "Best so far: trial 4" in told
    assert "% (higher is better)." in told
    assert "validation accuracy" in told


def test_the_best_baseline_is_the_one_with_the_highest_value(run):
    path = run.baselines / "majority.json"
    known = BaselineResult.read(path)
    known.model_copy(
        update={"objective": 0.999, "metrics": {"accuracy": 0.999}, "validation_loss": 5.0}
    ).write(path)
    found = compute(run)
    assert found.verdict.best_baseline == "majority"
    assert found.verdict.in_loss == ()


def test_a_table_has_it_beside_the_loss(run):
    head, first, *_ = csv_text(trials_table(compute(run))).splitlines()
    at = head.split(",").index("objective")
    assert float(first.split(",")[at]) == compute(run).trials[0].value


def test_a_minimised_function_has_its_own_unit_and_no_share(run):
    cost = Objective(
        name="mine:cost", title="cost", metric="mine:cost", computed_from="classes", function=True
    )
    Plan.read(run.plan).model_copy(update={"objective": cost}).write(run.plan)
    found = findings_of(read_run(run))
    assert (found.metric.name, found.metric.higher_is_better) == ("mine:cost", False)
    assert found.best_first()[0].value == min(
        one.value for one in found.trials if one.value is not None
    )
    assert figures_of(run, strategies).quality_share is None
