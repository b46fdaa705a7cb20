import json
import re
from types import SimpleNamespace

import pytest
from section_figures import figures_of

from sweeper.execution.state.status import Status
from sweeper.findings.compute import compute
from sweeper.findings.findings import Comparison, Interval
from sweeper.findings.study.reading import read_run
from sweeper.findings.verdict import limitations
from sweeper.findings.verdict.comparisons import compare_finalists
from sweeper.findings.verdict.limitations import JudgedStudy
from sweeper.reporting.sections import cost, samples, strategies
from sweeper.trials import BaselineResult, Measure, TestSeal, TrialResult


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
    assert "the best of 3 finalists, beyond noise" in verdict.sentence
    assert re.search(
        r"Fine-tuning pays on the test split: \+\d+\.\d points \(CI .+\) against ", verdict.sentence
    )
    assert "95.1% (95% CI 9" in verdict.sentence


@pytest.mark.parametrize("nearest", ["tfidf", "probe"])
def test_the_smallest_gap_to_a_baseline_is_said(contest, nearest):
    run, winner, _, seal = contest
    reseal(run, recommended=seal.order[0])
    with_right(
        run, {winner: 0.95, "*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.6} | {nearest: 0.7}
    )
    verdict = compute(run).verdict
    gaps = {
        c.second: c.difference.value for c in verdict.comparisons if c.second in ("tfidf", "probe")
    }
    assert min(gaps, key=gaps.get) == nearest
    assert f"+{100 * gaps[nearest]:.1f} points" in verdict.sentence


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
        found = SimpleNamespace(chosen=chosen, seeds=3, comparisons=[open_one])
        return [one.id for one in limitations._few_seeds(JudgedStudy(files, summary, found, None))]

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


def test_a_baseline_that_does_better_is_recommended(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.95})
    verdict = compute(run).verdict
    assert verdict.kind == "recommend"
    assert verdict.fine_tuning_needed is False
    assert verdict.recommended_baseline == "probe"


def test_fine_tuning_pays_only_against_every_baseline(contest):
    run, _, _, _ = contest
    # The probe was best on validation; TF-IDF does as well on the test as the trials.
    with_test_losses(run, {"*": 0.30})
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.91, "probe": 0.70})
    verdict = compute(run).verdict
    assert {c.second: c.outcome for c in verdict.comparisons}["probe"] == "better"
    assert (verdict.best_baseline, verdict.recommended_baseline) == ("probe", "tfidf")
    assert verdict.fine_tuning_needed is None
    assert verdict.kind == "tie"
    assert "ays" not in verdict.sentence.replace("not shown to pay", "")


def test_the_correction_covers_all_baselines_and_finalists(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.6, "probe": 0.7})
    of_baselines = [c for c in compute(run).verdict.comparisons if "trial" not in c.second]
    assert [c.comparisons for c in of_baselines] == [3 * 3] * 3


def test_a_frozen_model_with_a_head_never_shows_that_fine_tuning_pays(make):
    run = make(trials=20, test_items=600, prune=False, losses={2: 0.1})
    seal = TestSeal.read(run.test_seal)
    assert seal.order[0] == 2
    reseal(run, recommended=2)
    right = {"trial-2": 0.95, "*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.7}
    with_right(run, right)
    verdict = compute(run).verdict
    assert verdict.recommended_trial == 2
    assert {c.outcome for c in verdict.comparisons} == {"better"}
    assert (verdict.kind, verdict.recommended_baseline) == ("recommend", None)
    assert verdict.fine_tuning_needed is None
    assert "Fine-tuning" not in verdict.sentence
    # The same scores of a trial that changes the base.
    reseal(run, recommended=next(n for n in seal.order if n % 3 != 2))
    other = f"trial-{TestSeal.read(run.test_seal).recommended}"
    with_right(run, {**right, other: 0.95, "trial-2": 0.80})
    assert compute(run).verdict.fine_tuning_needed is True


def test_every_part_of_a_report_means_the_same_best_baseline(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.8, "probe": 0.7})
    findings = compute(run)
    assert (
        findings.verdict.best_baseline == "probe" == compare_finalists(read_run(run)).baseline.name
    )


def unscored(run, places):
    """Take the weight of some test items, as of those whose answer exceeds the length limit."""
    seal = TestSeal.read(run.test_seal)
    weights = tuple(float(item not in places) for item in range(seal.items))
    rows = {
        name: lambda row: tuple(v * w for v, w in zip(row, weights, strict=True))
        for name in ("item_scores", "item_losses")
    }
    scores = [
        score.model_copy(
            update={"item_weights": weights}
            | {name: change(getattr(score, name)) for name, change in rows.items()}
        )
        for score in seal.scores
    ]
    reseal(run, scores=tuple(scores))


def test_test_items_with_weight_0_are_compared_counted_and_shown_nowhere(make):
    run = make(trials=12, test_items=60, prune=False)
    places = range(3, 60, 2)
    unscored(run, places)
    findings = compute(run)
    kept = 60 - len(places)
    assert findings.verdict.test_items == kept
    assert {c.difference.n for c in findings.verdict.comparisons} == {kept}
    assert {model.score.n for model in findings.tested} == {kept}
    assert {model.test_loss.n for model in findings.tested} == {kept}
    assert findings.finalists[0].test_score.n == kept
    assert figures_of(run, strategies).quality_share.share.n == kept
    outputs = figures_of(run, samples)
    shown = [item.item for group in outputs.groups for item in group.items]
    assert shown
    assert not set(shown) & set(places)
    assert max(group.of for group in outputs.groups) <= kept
    seeds = [seed.test_score for seed in findings.finalists[0].seeds]
    assert sum(seeds) / 3 == pytest.approx(findings.finalists[0].test_score.value)


def test_an_item_that_one_model_was_not_scored_on_counts_for_none(make):
    run = make(trials=12, test_items=60, prune=False)
    seal = TestSeal.read(run.test_seal)
    first, *rest = seal.scores
    weights = (0.0, *[1.0] * 59)
    reseal(run, scores=(first.model_copy(update={"item_weights": weights}), *rest))
    assert {c.difference.n for c in compute(run).verdict.comparisons} == {59}


def test_five_scored_items_of_eight_decide_nothing(make):
    run = make(trials=12, test_items=8, prune=False)
    unscored(run, (1, 4, 6))
    findings = compute(run)
    assert findings.verdict.test_items == 5
    compared = findings.verdict.comparisons
    assert {(c.difference.n, c.outcome, c.lacking) for c in compared} == {
        (5, "within noise", "items")
    }
    assert all(c.more_items is None or c.more_items >= 15 for c in compared)
    assert figures_of(run, strategies).quality_share is None
    assert findings.verdict.fine_tuning_needed is None


def test_validation_items_with_weight_0_are_left_out(make):
    run = make(trials=12, prune=False)
    for path in run.trials.rglob("item_losses.json"):
        kept = json.loads(path.read_text())
        count = len(kept["losses"])
        weights = [float(item % 3 > 0) for item in range(count)]
        path.write_text(json.dumps(kept | {"weights": weights}))
    gains = [gain for gain in figures_of(run, cost).gains if gain.gain]
    assert gains
    assert {gain.gain.n for gain in gains} == {gain.best.n for gain in gains} == {80}


def test_with_one_seed_nothing_is_better(make):
    run = make(trials=20, test_items=600, seeds=1)
    findings = compute(run)
    assert findings.verdict.kind == "insufficient"
    words = [c.outcome for c in findings.verdict.comparisons]
    words += [gain.outcome for gain in figures_of(run, cost).gains if gain.outcome]
    assert len(words) > 5
    assert set(words) == {"within noise"}
    assert findings.verdict.fine_tuning_needed is None


def test_a_finalist_that_lacks_seeds_leaves_the_verdict_open(contest):
    run, _, rivals, seal = contest
    last = int(rivals[-1].removeprefix("trial-"))
    fewer = [s for s in seal.scores if (s.trial, s.seed) != (last, 2)]
    reseal(run, scores=tuple(fewer))
    findings = compute(run)
    assert (findings.verdict.kind, findings.verdict.seeds) == ("insufficient", 2)
    assert "few-seeds" in [limit.id for limit in findings.limits]


def test_accuracy_that_falls_while_the_loss_improves_is_said(contest):
    run, winner, _, seal = contest
    reseal(run, recommended=seal.order[0])
    with_right(run, {winner: 0.80, "*": 0.80, "majority": 0.2, "tfidf": 0.6, "probe": 0.95})
    with_test_losses(run, {"*": 0.30, "probe": 0.60})
    verdict = compute(run).verdict
    (fallen,) = verdict.worsened
    assert (fallen.second, fallen.metric, fallen.outcome) == ("probe", "accuracy", "worse")
    assert "accuracy −14.9 points" in verdict.sentence
    with_test_losses(run, {"*": 0.30})
    assert compute(run).verdict.worsened == ()


@pytest.mark.parametrize(
    ("items", "fall", "names"),
    [(40, 0.3, {"chrf", "rougeL"}), (40, 0.0, set()), (19, 0.3, set())],
)
def test_answers_that_get_worse_while_the_loss_improves_are_said(make, items, fall, names):
    run = make(trials=8, task="instruction", strategies=("lora", "full"), test_items=300)
    seal, scores = TestSeal.read(run.test_seal), []
    for score in seal.scores:
        wrote = score.generated
        if wrote is not None:
            lost = fall if score.trial is not None else 0.0
            share = tuple(0.6 + 0.01 * (item % 7) - lost for item in range(items))
            values = {"rougeL": share, "chrf": tuple(100 * one for one in share)}
            places = {"places": tuple(range(items)), "item_metrics": values}
            wrote = wrote.model_copy(update=places)
        scores.append(score.model_copy(update={"generated": wrote}))
    reseal(run, scores=tuple(scores))
    findings = compute(run)
    verdict = findings.verdict
    assert {c.second: c.outcome for c in verdict.comparisons}["zero_shot"] == "better"
    assert {(c.second, c.metric, c.outcome) for c in verdict.worsened} == {
        ("zero_shot", name, "worse") for name in names
    }
    assert ("other metrics are worse" in verdict.sentence) == bool(names)
    for model in findings.tested:
        assert model.generated is None or model.generated.item_metrics == {}


def test_the_baseline_to_beat_is_the_one_with_the_lowest_validation_loss(contest):
    run, _, _, _ = contest
    tfidf = run.baselines / "tfidf.json"
    known = BaselineResult.read(tfidf)
    lucky = known.model_copy(update={"metrics": {**known.metrics, "accuracy": 0.999}})
    lucky.write(tfidf)
    with_right(run, {"*": 0.90, "majority": 0.2, "tfidf": 0.80, "probe": 0.70})
    assert compute(run).verdict.best_baseline == "probe"


def test_a_running_sweep_never_recommends(make):
    findings = compute(make(trials=13, asked=20, phase="search", seal=False, seeds=1))
    assert findings.verdict.kind == "insufficient"
    assert "results may change" in findings.verdict.sentence
    assert findings.limits[0].id == "partial"


def test_an_interrupted_sweep_never_recommends_even_with_test_scores(contest):
    run, winner, _, _ = contest
    with_right(run, {winner: 0.95, "*": 0.5})
    now = "2026-01-05T10:00:00Z"
    Status(phase="interrupted", trials=40, started_at=now, updated_at=now).write(run.status)
    verdict = compute(run).verdict
    assert verdict.kind == "insufficient"
    # Export, refit and limits of `sweeper run` take this one.
    assert f" trial {verdict.best_trial}" in verdict.sentence


def test_the_best_so_far_keeps_to_the_limit_on_forgetting(make):
    run = make(trials=13, asked=20, phase="search", seal=False, seeds=1)
    first, second, *_ = (trial.config.number for trial in read_run(run).ranked)
    assert f"trial {first} " in compute(run).verdict.sentence
    path = run.trial(first) / "result.json"
    lost = Measure(title="lost", unit="nats/token", value=3.09, base=3.0)
    TrialResult.read(path).model_copy(update={"measures": {"general.text": lost}}).write(path)
    limit = "features:\n  forgetting:\n    max_points: 5\n"
    run.spec.write_text(f"{run.spec.read_text()}{limit}")
    verdict = compute(run).verdict
    assert f"trial {second} " in verdict.sentence
    assert verdict.best_trial == second


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
            "0 pruned, 2 failed (the loss is not finite).",
        ),
        ({"trials": 2, "ends": {0: "FAIL", 1: "PRUNED"}}, "1 pruned, 1 failed (the loss"),
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
    (in_loss,) = (one for one in verdict.in_loss if one.second == "probe")
    assert (in_loss.outcome, in_loss.metric) == ("better", "loss")
    assert in_loss.difference.value == pytest.approx(-0.1)


def test_the_default_is_compared_in_test_loss_too(contest):
    run, _, _, _ = contest
    default = compare_finalists(read_run(run)).default
    assert default is not None
    with_right(run, {"*": 0.905, "majority": 0.2, "tfidf": 0.6, "probe": 0.89})
    with_test_losses(run, {"*": 0.30, default: 0.40})
    held = compare_finalists(read_run(run))
    assert held.against(default).outcome != "better"
    in_loss = held.against(default, in_loss=True)
    assert (in_loss.outcome, in_loss.difference.value) == ("better", pytest.approx(-0.1))
    # Holm's correction counts the other finalists and the answer in accuracy.
    assert in_loss.comparisons == len(held.comparisons) - 3 + 1
    found = {one.second: one.outcome for one in compute(run).verdict.in_loss}
    assert found[default] == "better"


def test_equal_test_losses_do_not_speak_for_fine_tuning(contest):
    run, _, _, _ = contest
    with_right(run, {"*": 0.905, "majority": 0.2, "tfidf": 0.6, "probe": 0.89})
    reversed_items(run, "probe")
    with_test_losses(run, {"*": 0.30})
    verdict = compute(run).verdict
    assert "Fine-tuning is not shown to pay: " in verdict.sentence
    assert "equivalent" in {one.outcome for one in verdict.in_loss}
