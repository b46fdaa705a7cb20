import re
from types import SimpleNamespace

import pytest

from sweeper.findings.compute import compute
from sweeper.findings.figures import Comparison, Interval
from sweeper.findings.study.reading import read_run
from sweeper.findings.verdict import limitations
from sweeper.findings.verdict.comparisons import hold_contest
from sweeper.findings.verdict.limitations import Study
from sweeper.findings.verdict.verdict import _leads
from sweeper.trials import BaselineResult, TestSeal, TrialResult

WORDS_NEVER_USED = ("optimal", "proves", "significantly", "best model")


def reseal(run, **changes):
    """Change the seal of a run: scores by a function of (name, seed) or fields."""
    seal = TestSeal.read(run.test_seal)
    seal.model_copy(update=changes).write(run.test_seal)


def with_right(run, right):
    """Set which share of the test items each model has right: name -> share."""
    seal = TestSeal.read(run.test_seal)
    scores = []
    for score in seal.scores:
        name = score.name if score.trial is None else f"trial-{score.trial}"
        share = right.get(name, right.get("*"))
        count = round(share * seal.items) + (score.seed or 0) % 2
        items = tuple(1.0 if i < count else 0.0 for i in range(seal.items))
        scores.append(score.model_copy(update={"item_scores": items}))
    reseal(run, scores=tuple(scores))


@pytest.fixture
def contest(make):
    """A finished run with 600 test items whose scores a test sets by itself."""
    run = make(trials=20, test_items=600, prune=False)
    seal = TestSeal.read(run.test_seal)
    return run, f"trial-{seal.order[0]}", [f"trial-{n}" for n in seal.order[1:]], seal


def test_a_clear_winner_is_recommended(contest):
    run, winner, _, seal = contest
    reseal(run, recommended=seal.order[0])
    with_right(run, {winner: 0.95, "*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.7})
    verdict = compute(run).verdict
    assert verdict.kind == "recommend"
    assert verdict.recommended_trial == seal.order[0]
    assert verdict.fine_tuning_needed is True
    assert "better than the rest of 3 finalists" in verdict.sentence
    assert re.search(
        r"Fine-tuning pays on the test split: \+\d+\.\d points \(CI .+\) against ", verdict.sentence
    )
    assert "95.1% (95% CI 9" in verdict.sentence


def test_more_seeds_are_advised_only_for_models_that_get_them(contest):
    run, winner, rivals, _ = contest
    files = read_run(run)
    chosen = SimpleNamespace(trial=0, seeds=(0, 1, 2))
    summary = SimpleNamespace(status="complete")

    def told(first, second):
        open_one = Comparison(
            first=first, second=second, metric="accuracy", outcome="within noise", seed_share=0.8,
            difference=Interval(value=0.0, low=-1.0, high=1.0),
        )  # fmt: skip
        found = SimpleNamespace(chosen=chosen, comparisons=[open_one])
        return [one.id for one in limitations._few_seeds(Study(files, summary, found))]

    default = next(t.config.number for t in files.trials if t.config.number not in files.seal.order)
    assert told(winner, f"trial-{default}") == []
    assert told(winner, rivals[0]) == told(winner, "tfidf") == ["few-seeds"]


def test_what_cannot_be_told_apart_is_a_tie_and_the_cheapest_is_named(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.7})
    verdict = compute(run).verdict
    assert verdict.kind == "tie"
    assert "the cheapest to train of 3 finalists that cannot be told apart" in verdict.sentence


def test_cheapest_is_only_said_of_the_cheapest(contest):
    run, _, _, _ = contest
    rows = {f.trial: f for f in compute(run).finalists}
    dearest = max(rows.values(), key=lambda f: f.peak_memory_gib).trial
    reseal(run, recommended=dearest)
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.7})
    sentence = compute(run).verdict.sentence
    assert "cheapest" not in sentence
    assert "cannot tell it apart from" in sentence


def test_a_baseline_that_does_as_well_means_that_one_need_not_fine_tune(contest):
    run, _, _, _ = contest
    with_test_losses(run, {"*": 0.30})
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.895})
    verdict = compute(run).verdict
    assert verdict.recommended_baseline == "probe"
    assert verdict.fine_tuning_needed is None
    assert verdict.kind == "tie"
    assert verdict.sentence.startswith("Fine-tuning is not shown to pay")
    assert "is not shown to be better than frozen probe" in verdict.sentence
    assert verdict.sentence.endswith(": within noise.")
    assert verdict.baseline_score is not None


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "leads"),
    [
        (12.0, 54.0, True, True),
        (-1.0, 54.0, True, False),
        (-2.8, -0.7, False, True),
        (0.7, 2.8, False, False),
    ],
)
def test_a_baseline_that_is_behind_without_correction_is_not_named_as_cheaper(
    low, high, higher_is_better, leads
):
    gap = SimpleNamespace(difference=Interval(value=(low + high) / 2, low=low, high=high))
    contest = SimpleNamespace(metric=SimpleNamespace(higher_is_better=higher_is_better))
    assert _leads(gap, contest) is leads


def test_a_cheaper_baseline_that_is_tied_too_is_named_with_why_it_was_not_chosen(contest):
    run, _, _, _ = contest
    with_test_losses(run, {"*": 0.30})
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.895, "probe": 0.895})
    verdict = compute(run).verdict
    assert verdict.recommended_baseline == "probe"
    assert "cheapest" not in verdict.sentence
    assert verdict.because[-1].startswith("Even cheaper to train and not shown")
    assert (
        "TF-IDF with logistic regression (0.9 s). On validation, which decides"
        in verdict.because[-1]
    )
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.895})
    assert not any("Even cheaper" in line for line in compute(run).verdict.because)


def test_a_baseline_that_does_better_is_recommended(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.95})
    verdict = compute(run).verdict
    assert verdict.kind == "recommend"
    assert verdict.fine_tuning_needed is False
    assert verdict.recommended_baseline == "probe"


def test_the_baseline_to_beat_is_chosen_on_validation_not_on_the_test(contest):
    run, _, _, _ = contest
    # TF-IDF happens to do best on the test; the probe was best on validation.
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.91, "probe": 0.70})
    verdict = compute(run).verdict
    assert verdict.recommended_baseline is None
    assert verdict.fine_tuning_needed is True


def test_the_baseline_to_beat_is_the_one_with_the_lowest_validation_loss(contest):
    run, _, _, _ = contest
    tfidf = run.baselines / "tfidf.json"
    known = BaselineResult.read(tfidf)
    lucky = known.model_copy(update={"metrics": {**known.metrics, "accuracy": 0.999}})
    lucky.write(tfidf)
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.80, "probe": 0.70})
    assert any("best baseline" in line and "probe" in line for line in compute(run).verdict.because)


def test_a_running_sweep_never_recommends(make):
    findings = compute(make(trials=13, asked=20, phase="search", seal=False, seeds=1))
    assert findings.verdict.kind == "insufficient"
    assert "of 20 trials; results may change" in findings.verdict.sentence
    assert findings.limits[0].id == "partial"


def test_an_interrupted_sweep_never_recommends_even_with_test_scores(contest):
    run, winner, _, _ = contest
    with_right(run, {winner: 0.95, "*": 0.5})
    run.status.write_text('{"phase": "interrupted", "trials": 40}')
    verdict = compute(run).verdict
    assert verdict.kind == "insufficient"
    # Export, refit and limits of `sweeper run` take this one.
    assert f" trial {verdict.best_trial}" in verdict.sentence


def test_the_best_so_far_keeps_to_the_limit_on_forgetting(make):
    run = make(trials=13, asked=20, phase="search", seal=False, seeds=1)
    first, second, *_ = (trial.config.number for trial in read_run(run).completed)
    assert f"trial {first} " in compute(run).verdict.sentence
    path, forgot = (
        run.trial(first) / "result.json",
        {"general_loss": 3.09, "general_loss_base": 3.0},
    )
    TrialResult.read(path).model_copy(update=forgot).write(path)
    run.spec.write_text(f"{run.spec.read_text()}aim:\n  max_forgetting_points: 5\n")
    verdict = compute(run).verdict
    assert f"trial {second} " in verdict.sentence
    assert any(f"trial {second} " in line for line in verdict.because)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"trials": 1}, "there is 1 finalist"),
        ({"trials": 12, "seeds": 2}, "test scores of 2 seeds"),
        ({"trials": 12, "seal": False, "phase": "complete"}, "not been scored on the test"),
    ],
)
def test_too_little_to_recommend_says_what_is_lacking(make, shape, told):
    verdict = compute(make(**shape)).verdict
    assert verdict.kind == "insufficient"
    assert told in verdict.sentence
    assert "Best so far: trial" in verdict.sentence


def test_an_open_verdict_names_the_trial_that_validation_chose_beside_the_best(make):
    run = make(trials=12, seeds=2)
    best, *_, last = TestSeal.read(run.test_seal).order
    reseal(run, recommended=last)
    sentence = compute(run).verdict.sentence
    assert f"Best so far: trial {best} " in sentence
    assert sentence.endswith(
        f"Validation chose trial {last}, the cheapest of those close to the best."
    )


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({"trials": 0, "seal": False, "phase": "search"}, "No trial has ended yet"),
        (
            {"trials": 2, "ends": {0: "FAIL", 1: "FAIL"}},
            "of 2 trials, 0 pruned and 2 failed (the loss is not finite).",
        ),
        ({"trials": 2, "ends": {0: "FAIL", 1: "PRUNED"}}, "1 pruned and 1 failed (the loss"),
    ],
)
def test_without_a_completed_trial_there_is_no_verdict(make, shape, told):
    verdict = compute(make(**shape)).verdict
    assert verdict.kind == "none"
    assert told in verdict.sentence
    assert verdict.recommended_trial is None


def test_holm_is_taken_over_finalists_and_over_baselines_apart(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.85})
    by_name = {c.second: c for c in compute(run).verdict.comparisons}
    # the probe's is the largest p value of its family: nothing is added to it
    assert by_name["probe"].adjusted_p < 0.05
    assert all(c.adjusted_p is not None for c in by_name.values())


def test_text_is_compared_by_loss_lower_is_better(make):
    findings = compute(
        make(trials=10, task="instruction", strategies=("lora", "full"), test_items=300)
    )
    assert not findings.metric.higher_is_better
    assert findings.metric.unit == "nats/token"
    against = {c.second: c.outcome for c in findings.verdict.comparisons}
    assert against["zero_shot"] == "better"


def test_words_that_promise_too_much_are_never_used(make):
    for index, shape in enumerate(({"trials": 20}, {"trials": 1}, {"trials": 0, "seal": False})):
        text = compute(make(name=f"run{index}", **shape)).to_json().lower()
        assert not [word for word in WORDS_NEVER_USED if word in text]


def with_test_losses(run, level):
    """Give each model's test items a loss around a level: name -> nats."""
    seal = TestSeal.read(run.test_seal)
    scores = []
    for score in seal.scores:
        name = score.name if score.trial is None else f"trial-{score.trial}"
        middle = level.get(name, level["*"])
        items = tuple(middle + 0.1 * ((i % 5) - 2) for i in range(seal.items))
        scores.append(score.model_copy(update={"item_losses": items}))
    reseal(run, scores=tuple(scores))


def reversed_items(run, name):
    """Let a model be right on the last items instead of the first: as many, but others."""
    seal = TestSeal.read(run.test_seal)
    scores = tuple(
        score.model_copy(update={"item_scores": score.item_scores[::-1]})
        if score.name == name
        else score
        for score in seal.scores
    )
    reseal(run, scores=scores)


def test_a_lower_test_loss_is_said_where_accuracy_leaves_it_open(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.905, "majority": 0.2, "tfidf": 0.6, "probe": 0.89})
    reversed_items(run, "probe")
    with_test_losses(run, {"*": 0.30, "probe": 0.40})
    verdict = compute(run).verdict
    assert verdict.fine_tuning_needed is True
    assert verdict.recommended_baseline is None
    assert "Fine-tuning pays in loss: on the test split −0.1" in verdict.sentence
    assert "in accuracy" in verdict.sentence
    assert verdict.sentence.endswith("is within noise.")
    line = next(line for line in verdict.because if line.startswith("In test loss"))
    assert "−0.1" in line
    assert line.endswith(": better.")


def test_the_default_is_compared_in_test_loss_too(contest):
    run, _, _, _ = contest
    default = hold_contest(read_run(run)).default
    assert default is not None
    with_right(run, {"*": 0.905, "majority": 0.2, "tfidf": 0.6, "probe": 0.89})
    with_test_losses(run, {"*": 0.30, default: 0.40})
    held = hold_contest(read_run(run))
    assert held.against(default).outcome != "better"
    in_loss = held.against(default, in_loss=True)
    assert (in_loss.outcome, in_loss.difference.value) == ("better", pytest.approx(-0.1))
    # Holm's correction counts the other finalists and the answer in accuracy.
    assert in_loss.comparisons == len(held.comparisons) - 3 + 1
    lines = [line for line in compute(run).verdict.because if line.startswith("In test loss")]
    assert [line.rpartition(": ")[2] for line in lines] == ["equivalent.", "better."]


def test_equal_test_losses_do_not_speak_for_fine_tuning(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.905, "majority": 0.2, "tfidf": 0.6, "probe": 0.89})
    reversed_items(run, "probe")
    with_test_losses(run, {"*": 0.30})
    verdict = compute(run).verdict
    assert "Fine-tuning is not shown to pay: " in verdict.sentence
    assert any(line.endswith(": equivalent.") and "test loss" in line for line in verdict.because)
