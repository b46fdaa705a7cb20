import pytest

from sweeper.findings.compute import compute
from sweeper.trials import TestSeal


@pytest.fixture
def run(make):
    """A finished run whose probe is right on the first 80% of 400 test items."""
    run = make(trials=20, test_items=400, prune=False)
    seal = TestSeal.read(run.test_seal)
    scores = tuple(
        score.model_copy(update={"item_scores": _right(400, 0.8)}) if score.trial is None else score
        for score in seal.scores
    )
    seal.model_copy(update={"scores": scores}).write(run.test_seal)
    return run


def _right(items, share):
    return tuple(1.0 if i < share * items else 0.0 for i in range(items))


def _score_all(run, share):
    seal = TestSeal.read(run.test_seal)
    scores = tuple(
        score.model_copy(update={"item_scores": _right(seal.items, share)})
        if score.trial
        else score
        for score in seal.scores
    )
    seal.model_copy(update={"scores": scores}).write(run.test_seal)


@pytest.mark.parametrize(("share", "word"), [(0.95, "better"), (0.5, "worse"), (0.8, "equivalent")])
def test_each_scored_strategy_is_compared_with_the_best_baseline(run, share, word):
    _score_all(run, share)
    compared = [s.against_baseline for s in compute(run).strategies if s.against_baseline]
    assert len(compared) >= 2
    scored_by_now = [c for c in compared if c.first != "trial-0"]
    # A default that is no finalist was trained once.
    assert {(c.outcome, c.lacking) for c in scored_by_now} == {
        (word, None),
        ("within noise", "seeds"),
    }
    for comparison in scored_by_now:
        assert comparison.difference.value == pytest.approx(share - 0.8, abs=0.01)


def test_before_the_seal_is_opened_nothing_is_compared(make):
    findings = compute(make(trials=8, seal=False))
    assert all(summary.against_baseline is None for summary in findings.strategies)
