"""Each case of "what next", on findings that were made for it."""

import pytest

from sweeper.findings.compute import compute
from sweeper.findings.findings import Comparison, Interval, Limitation, NextStep
from sweeper.findings.verdict.next_step import next_step, next_step_line

ENDED = {"status": "complete", "complete": 20, "pruned": 0, "failed": 0, "trials_requested": 20}


def with_results(trials, **changes):
    """The trials, with other values in their results."""
    results = [trial.result.model_copy(update=changes) for trial in trials]
    pairs = zip(trials, results, strict=True)
    return tuple(trial.model_copy(update={"result": result}) for trial, result in pairs)


@pytest.fixture
def plain(make):
    """Findings of a finished run where a trial is recommended and nothing hinders."""
    found = compute(make(trials=20))
    number = found.finalists[0].trial
    run = found.run.model_copy(update=ENDED | {"search_ended": "nothing is left to gain"})
    trials = with_results(found.trials, stopped_by=None)
    decided = {
        "kind": "recommend",
        "recommended_trial": number,
        "best_baseline": "tfidf",
        "recommended_baseline": None,
        "fine_tuning_needed": True,
        "comparisons": (against(number, "better"),),
    }
    verdict = found.verdict.model_copy(update=decided)
    changed = {"run": run, "verdict": verdict, "limits": (), "trials": trials}
    return found.model_copy(update=changed)


def against(number, outcome, value=0.1, more_items=None):
    return Comparison(
        first=f"trial-{number}",
        second="tfidf",
        metric="accuracy",
        difference=Interval(value=value, low=value - 0.02, high=value + 0.02),
        outcome=outcome,
        more_items=more_items,
    )


def with_verdict(found, **changes):
    return found.model_copy(update={"verdict": found.verdict.model_copy(update=changes)})


def with_run(found, **changes):
    return found.model_copy(update={"run": found.run.model_copy(update=changes)})


def tied(found, outcome, value, more_items=None, **changes):
    comparison = against(found.verdict.recommended_trial, outcome, value, more_items)
    return with_verdict(found, comparisons=(comparison,), recommended_baseline="tfidf", **changes)


def limited(found, name):
    limit = Limitation(id=name, text="Seeds differ by 0.1.", action="Raise it.")
    return found.model_copy(update={"limits": (limit,)})


def test_a_winner_that_nothing_hinders_is_to_be_used(plain):
    step = next_step(plain)
    assert (step.kind, step.command) == ("use", "")
    assert next_step_line(step) == "Next: use this model."


def test_a_run_that_goes_on_has_no_next_step_and_a_stopped_one_is_resumed(plain):
    assert next_step(with_run(plain, status="running")) is None
    step = next_step(with_run(plain, status="interrupted", complete=7))
    assert (step.kind, step.because) == ("resume", "7 of 20 trials have ended.")
    assert step.command == f"sweeper run {plain.run.place}/sweep.yaml"
    step = next_step(with_run(plain, status="interrupted", complete=20))
    left = "and the finalists are not yet scored on the test split"
    assert step.because == f"20 of 20 trials have ended, {left}."
    assert next_step_line(step).startswith("Next: resume this sweep. 20 of 20")


def test_failures_come_before_all_else(plain):
    step = next_step(with_run(plain, complete=0, failed=20))
    assert step.kind == "failures"
    assert "20 failed" in step.because
    assert step.command == f"sweeper run {plain.run.place}/sweep.yaml --new"


@pytest.mark.parametrize(
    ("outcome", "value", "more", "needed", "kind"),
    [
        ("equivalent", 0.0, None, False, "stop"),
        ("worse", -0.1, None, False, "another-base"),
        ("within noise", 0.01, 400, None, "more-test-rows"),
        ("within noise", 0.01, None, None, "stop"),
    ],
)
def test_a_baseline_that_does_as_well(plain, outcome, value, more, needed, kind):
    step = next_step(tied(plain, outcome, value, more, fine_tuning_needed=needed))
    assert step.kind == kind
    assert f"{100 * value:+.1f}".lstrip("+-") in step.because
    assert ("about 400 more items would settle it" in step.because) == (more == 400)


def test_luck_of_seeds_comes_first_where_it_leaves_the_verdict_open(plain):
    open_one = with_verdict(limited(plain, "few-seeds"), kind="insufficient")
    step = next_step(open_one)
    assert step.kind == "more-seeds"
    assert step.command.endswith(f"--confirmation-seeds {2 * plain.verdict.seeds}")
    assert next_step(limited(plain, "few-seeds")).kind == "use"
    alone = with_verdict(open_one, seeds=2).model_copy(update={"finalists": plain.finalists[:1]})
    assert next_step(alone).command.endswith("--confirmation-seeds 3 --finalists 2")
    assert next_step(alone).because.endswith("A choice also needs 2 finalists.")


def test_a_verdict_that_the_study_cannot_carry_takes_more_trials(plain):
    step = next_step(with_verdict(plain, kind="insufficient"))
    assert step.kind == "more-trials"
    assert step.command.endswith("--new --trials 40")


def test_one_finalist_of_several_trials_takes_another_finalist(plain):
    alone = plain.model_copy(update={"finalists": plain.finalists[:1]})
    step = next_step(with_verdict(alone, kind="insufficient"))
    assert step.kind == "more-finalists"
    assert step.command.endswith("--new --finalists 2")


def test_a_trial_that_still_improved_is_to_be_trained_longer(plain):
    step = next_step(limited(plain, "best-at-last-step"))
    assert step.kind == "longer-training"
    assert " --epochs " in step.command


def test_a_winner_that_overfits_wants_more_rows(plain):
    why = {"stopped_by": "overfitting", "stopped_because": "words", "stopped_at_rung": 3}
    trials = with_results(plain.trials, **why)
    step = next_step(plain.model_copy(update={"trials": trials}))
    assert step.kind == "more-data"
    assert "stopped at rung 3: words" in step.because


def test_advice_counts_where_nothing_hinders_and_the_first_of_it(plain):
    advice = [NextStep(kind="more-data", because=text) for text in ("first", "second")]
    assert next_step(plain, advice) == advice[0]
    assert next_step(with_run(plain, status="interrupted", complete=7), advice).kind == "resume"
    assert next_step(with_run(plain, status="running"), advice) is None
