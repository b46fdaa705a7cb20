"""What was lost, from files: paired by item, honest about noise, silent where nothing is known."""

import json
import math

import pytest
from section_figures import figures_of

from sweeper.errors import GateFailed
from sweeper.evaluation.task_scores import ModelScores, TaskScores, base_file, trial_file
from sweeper.features.forgetting import section
from sweeper.findings.compute import compute
from sweeper.findings.findings import NotMeasured
from sweeper.findings.study.reading import read_run
from sweeper.findings.study.trained_changes import gate, measured_trials
from sweeper.objective import Limit, Objective
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.sections import parameters
from sweeper.steps.winner import best_trial
from sweeper.trials import Measure, TrialResult

TEXT = "general.text"
LIMIT = [Limit("general", 0.02, "forgetting", 2, "")]


def scores(values, name="mmlu", unit="points", keys=None, digest="d", weights=()):
    return TaskScores(
        task=name,
        digest=digest,
        kind="multiple-choice" if unit == "points" else "text",
        metric="acc" if unit == "points" else "loss",
        unit=unit,
        higher_is_better=unit == "points",
        shots=0,
        total_items=1140,
        keys=keys or tuple(f"i{n}" for n in range(len(values))),
        scores=tuple(float(v) for v in values),
        weights=weights,
        harness="lm-eval 0.4.13",
    )


def put(run, base, tuned, trial=0, dtype="float32"):
    """Scores of one trial and its base, beside the run's other files."""
    folder = run.path / "evaluations"
    ModelScores(model="m", dtype="float32", tasks=base).write(base_file(folder, "k"))
    ModelScores(model="m", dtype=dtype, trial=trial, strategy="lora", tasks=tuned).write(
        trial_file(folder, trial)
    )


def limited(run, points):
    run.spec.write_text(
        run.spec.read_text() + f"features:\n  forgetting:\n    max_points: {points}\n"
    )


def test_without_scores_it_is_said_how_to_measure_or_why_that_cannot_be(make):
    found = figures_of(make(trials=2), section)
    assert isinstance(found, NotMeasured)
    assert "classification head" in found.reason
    written = figures_of(make(trials=2, task="instruction", name="written"), section)
    assert "was not scored" in written.reason
    assert (found.command, written.command) == ("", "")


def watched(run, number, after, items=True):
    """Add a loss on general text to a trial that has ended."""
    folder = run.trial(number)
    result = TrialResult.read(folder / "result.json")
    if items:
        kept = {"base_values": [3.0, 3.1] * 20, "weights": [1.0] * 40}
        kept["values"] = [b + after - 3.05 for b in kept["base_values"]]
        (folder / "measures.json").write_text(json.dumps({TEXT: kept}))
    lost = Measure(title="lost on general text", unit="nats/token", value=after, base=3.05)
    result.model_copy(update={"measures": {TEXT: lost}}).write(folder / "result.json")


def test_a_trial_without_a_finite_loss_has_no_task_loss_to_show(make):
    run = make(trials=2, prune=False)
    accuracy = Objective(
        name="accuracy", title="accuracy", metric="accuracy", higher_is_better=True, best=1.0
    )
    Plan.read(run.plan).model_copy(update={"objective": accuracy}).write(run.plan)
    for number, loss in enumerate((math.inf, 0.4)):
        watched(run, number, 3.10)
        file = run.trial(number) / "result.json"
        update = {"objective": 0.9, "validation_loss": loss}
        TrialResult.read(file).model_copy(update=update).write(file)
    assert [trial.task_loss for trial in figures_of(run, section).trials] == [0.4]


def test_the_front_holds_the_trials_that_no_other_one_beats_in_both_losses(make):
    run = make(trials=4, prune=False, losses={0: 0.5, 1: 0.4, 2: 0.6, 3: 0.3})
    for number, after in {0: 3.10, 1: 3.30, 2: 3.20, 3: 3.50}.items():
        watched(run, number, after, items=number != 1)
    found = figures_of(run, section)
    assert found.front == (0, 1, 3)
    by_number = {trial.trial: trial for trial in found.trials}
    assert by_number[0].forgetting.value == pytest.approx(5)
    assert by_number[1].forgetting.low is None
    assert by_number[3].forgetting.low is not None
    (measured,) = measured_trials(read_run(run)).values()
    assert measured.changes[3] == pytest.approx(0.45)


def test_a_limit_speaks_in_the_verdict(make):
    run = make(trials=6, prune=False)
    limited(run, 2)
    chosen = compute(run).verdict.recommended_trial
    put(run, (scores([1.0] * 150 + [0.0] * 50),), (scores([1.0] * 100 + [0.0] * 100),), chosen)
    found = report_of(run)
    assert figures_of(run, section).limit_points == 2
    limit = "Limit of 2 points of a score, 0.02 nats/token of a text"
    assert f"{limit}: trial {chosen} is above it beyond noise on mmlu." in found.because


@pytest.mark.parametrize("seeds", [1, 3])
def test_without_a_recommendation_one_trial_is_named_used_and_held_to_the_limit(make, seeds):
    run = make(trials=2, prune=False, losses={0: 0.5, 1: 0.3}, seeds=seeds, seal=False)
    limited(run, 2)
    for number, after in {0: 3.05, 1: 3.50}.items():
        watched(run, number, after)
    report = report_of(run)
    found = report.findings
    assert found.verdict.recommended_trial == (None if seeds == 1 else 0)
    assert [trial.number for trial in found.best_first()] == [1, 0]
    assert "Best so far: trial 0 " in found.verdict.sentence
    assert best_trial(found) == found.verdict.best_trial == 0
    assert any(": trial 0 is within it on" in text for text in report.because)
    gate(read_run(run), [best_trial(found)], LIMIT)
    shown = figures_of(run, parameters).parameters
    assert {one.best_trial for one in shown if one.strategy == "lora"} == {0}


def test_without_losses_of_items_the_gate_compares_the_mean(make):
    run = make(trials=1, prune=False)
    limited(run, 2)
    watched(run, 0, 3.50, items=False)
    report = report_of(run)
    because = report.because
    assert any("trial 0 is above it, with unknown noise, on" in one for one in because)
    with pytest.raises(GateFailed):
        gate(read_run(run), [0], LIMIT)


def test_a_loss_above_the_limit_that_noise_can_explain_is_said_with_its_interval(make):
    run = make(trials=6, prune=False)
    limited(run, 2)
    chosen = compute(run).verdict.recommended_trial
    put(
        run,
        (scores([1.0, 0.0] * 100),),
        (scores([1.0, 0.0] * 90 + [0.0, 1.0, 0.0, 0.0] * 5),),
        chosen,
    )
    (told,) = report_of(run).because
    assert (
        f"trial {chosen} is above it within noise, which the gate lets pass, on mmlu, 2.5 points ("
        in told
    )
