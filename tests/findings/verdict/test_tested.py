"""The opened test split side by side, class by class, and what was not used whole."""

import json

import numpy as np
import pytest

from sweeper.findings.compute import compute
from sweeper.findings.study.reading import read_run
from sweeper.findings.study.strategy_figures import value_interval
from sweeper.findings.verdict.headline import cost_line, headline_figures, scoreboard
from sweeper.trials import EncodingNote, TestSeal, TrialResult


def reseal(run, change):
    seal = TestSeal.read(run.test_seal)
    seal.model_copy(update={"scores": tuple(change(score) for score in seal.scores)}).write(
        run.test_seal
    )


def test_every_scored_model_is_there_finalists_first_and_baselines_last(make):
    run = make(trials=12)
    found = compute(run).tested
    order = TestSeal.read(run.test_seal).order
    assert [model.trial for model in found][: len(order)] == list(order)
    assert {model.name for model in found[-3:]} == {"majority", "probe", "tfidf"}
    assert {model.seeds for model in found[: len(order)]} == {3}
    assert all(model.test_loss and model.score.low is not None for model in found)


def test_a_trial_of_one_seed_beside_others_of_three_is_called_so(make):
    findings = compute(make(trials=12))
    board = scoreboard(findings)
    single = {
        model.trial for model in findings.tested if model.trial is not None and model.seeds == 1
    }
    trials = {model.trial: model.title for model in board.models if model.trial is not None}
    assert set() < single < set(trials)
    assert {number for number, title in trials.items() if "1 seed" in title} == single


def test_written_answers_stand_beside_the_loss(make):
    found = compute(make(trials=8, task="instruction", strategies=("lora", "full"))).tested
    base = next(model for model in found if model.name == "zero_shot")
    assert base.generated.items == 32
    assert found[0].generated.metrics["bleu"] > base.generated.metrics["bleu"]


@pytest.mark.parametrize(
    ("task", "pace", "told"), [("classification", 12.5, "12 s per 1,000 items"),
                               ("instruction", 250.0, "4 min per 1,000 written answers")]
)  # fmt: skip
def test_both_costs_are_told_with_the_pace_that_was_measured_on_the_test_split(
    make, task, pace, told
):
    findings = compute(make(trials=8, task=task, strategies=("lora", "full")))
    number = findings.verdict.recommended_trial
    # 1.2, 1.5 and 1.8 s for 120 items; 8 s for 32 answers.
    assert next(m for m in findings.tested if m.trial == number).seconds_per_thousand == pace
    line = cost_line(findings)
    assert line.startswith(f"Cost of trial {number}: ")
    weights = "2.4 MB of weights and a base of 90.9 MB"
    assert f"; to use {told}, {weights}." in line
    score, train, use = headline_figures(findings)
    assert score.text in findings.verdict.sentence
    assert (use.text, use.detail) == (told, weights)
    assert train.text in line


def test_a_run_of_an_earlier_sweeper_has_no_cost_of_use(make):
    run = make(trials=4)
    reseal(run, lambda score: score.model_copy(update={"seconds": None}))
    for path in run.trials.glob("*/result.json"):
        fields = json.loads(path.read_text())
        del fields["weights_bytes"], fields["base_bytes"]
        path.write_text(json.dumps(fields))
    findings = compute(run)
    assert {model.seconds_per_thousand for model in findings.tested} == {None}
    assert cost_line(findings) == ""


def test_nothing_is_said_of_a_test_that_was_not_opened(make):
    findings = compute(make(trials=3, seal=False))
    assert findings.tested == ()


def test_a_longer_answer_counts_more_in_the_test_loss(make):
    run = make(trials=6, task="instruction", strategies=("lora", "full"), seeds=1)
    weights = tuple(1.0 + (n % 4) * 50 for n in range(120))
    reseal(run, lambda score: score.model_copy(update={"item_weights": weights}))
    for model in compute(run).tested:
        score = next(s for s in TestSeal.read(run.test_seal).scores if s.name == model.name)
        expected = np.average(score.item_losses, weights=weights)
        assert model.test_loss.value == pytest.approx(expected)
        assert model.score.value == pytest.approx(expected)
        assert model.test_loss.low < expected < model.test_loss.high


def test_intervals_of_validation_belong_to_the_weighted_loss(make):
    run = make(trials=1, prune=False)
    path = run.trial(0) / "item_losses.json"
    kept = json.loads(path.read_text())
    kept["weights"] = [1 + n % 7 for n in range(len(kept["losses"]))]
    path.write_text(json.dumps(kept))
    weighted = float(np.average(kept["losses"], weights=kept["weights"]))
    result = TrialResult.read(run.trial(0) / "result.json")
    result.model_copy(update={"validation_loss": weighted}).write(run.trial(0) / "result.json")
    (trial,) = read_run(run).trials
    found = value_interval(trial)
    assert found.value == pytest.approx(weighted)
    rng = np.random.default_rng(1)
    losses, weights = np.array(kept["losses"]), np.array(kept["weights"])
    rows = rng.integers(0, len(losses), (4000, len(losses)))
    drawn = (losses[rows] * weights[rows]).sum(1) / weights[rows].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))


@pytest.mark.parametrize(
    ("note", "is_limit"),
    [
        ({"kind": "cut", "count": 5, "of": 560}, False),
        ({"kind": "cut", "count": 60, "of": 560}, True),
        ({"kind": "dropped", "count": 1, "of": 560}, True),
    ],
)
def test_examples_that_were_not_used_whole_are_named_and_limit_where_they_are_many(
    make, note, is_limit
):
    run = make(trials=2, prune=False)
    for number in (0, 1):
        path = run.trial(number) / "result.json"
        one = EncodingNote(split="train", tokens=128, **note)
        TrialResult.read(path).model_copy(update={"notes": (one,)}).write(path)
    findings = compute(run)
    assert any(n.kind == note["kind"] and n.count == note["count"] for n in findings.notes)
    ids = {limit.id for limit in findings.limits}
    assert (f"{note['kind']}-train" in ids) == is_limit
