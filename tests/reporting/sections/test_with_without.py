"""Did augmentation pay? Trials with it beside trials without it."""

import pytest
from section_figures import blocks_of, figures_of

from sweeper.facts.record import AugmentationFacts, SourceFacts
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.modelcard import model_card
from sweeper.reporting.sections import repro, with_without
from sweeper.trials import Seen, TrialConfig, TrialResult

SEEN = {
    "augmented (paraphrase)": Seen(rows=40, tokens=900),
    "original rows": Seen(rows=120, tokens=2_500),
}


@pytest.fixture
def augmented(make):
    """Two trials of LoRA: 0 with augmented rows and 1 without, else the same."""

    def write(losses, other=None, **changes):
        run = make(trials=2, prune=False, losses=losses, strategies=("lora",), **changes)
        plan = Plan.read(run.plan)
        made = AugmentationFacts(rows=30, methods={"paraphrase": 30})
        sources = (SourceFacts(title="mine", rows={"train": 90, "test": 10}, weight=2.0),)
        data = plan.facts.data.model_copy(update={"augmentation": made, "sources": sources})
        facts = plan.facts.model_copy(update={"data": data})
        plan.model_copy(update={"facts": facts}).write(run.plan)
        same = TrialConfig.read(run.trial(0) / "config.json").parameters
        for number, own in ((0, {}), (1, other or {})):
            path = run.trial(number) / "config.json"
            way = {"augmented_rows": "none" if number else "all"}
            config = TrialConfig.read(path)
            config.model_copy(update={"parameters": {**same, **own, **way}}).write(path)
        path = run.trial(0) / "result.json"
        parts = {"seen": SEEN, "validation_by_source": {"mine": 0.25}}
        TrialResult.read(path).model_copy(update=parts).write(path)
        return run

    return write


def test_augmentation_that_pays_is_called_better(augmented):
    run = augmented({0: 0.2, 1: 0.9}, validation_items=400, seeds=2)
    (found,) = figures_of(run, with_without).augmentation
    assert (found.with_trial, found.without_trial) == (0, 1)
    assert found.same_configuration
    assert found.gain.value == pytest.approx(0.7, abs=0.1)
    assert found.outcome == "better"
    assert (found.augmented_rows, found.rows) == (40, 160)
    because = report_of(run).findings.verdict.because
    said = next(text for text in because if text.startswith("Augmented rows"))
    assert "better with it (trial 1 against trial 0, otherwise the same)" in said
    assert "40 of the 160 rows that trial 0 trained on were augmented ones" in said


def test_augmentation_that_does_not_pay_is_called_worse(augmented):
    (found,) = figures_of(
        augmented({0: 0.9, 1: 0.2}, validation_items=400, seeds=2), with_without
    ).augmentation
    assert found.gain.value < 0
    assert found.outcome == "worse"


def test_augmented_trials_that_differ_in_more_are_the_best_of_each(augmented):
    figures = figures_of(augmented({0: 0.5, 1: 0.5}, other={"r": 99}), with_without)
    assert not figures.augmentation[0].same_configuration


def test_without_augmented_rows_nothing_is_said(make):
    assert figures_of(make(trials=3), with_without) is None


def test_card_and_report_say_what_was_mixed_and_seen(augmented):
    run = augmented({0: 0.2, 1: 0.9})
    report = report_of(run)
    for text in (model_card(report), str(blocks_of(report, repro))):
        assert "mine: 90 train, 10 test rows, weight 2.00; validation loss 0.25" in text
        assert "30 (30 by paraphrase)" in text
        assert "120 rows (2,500 tokens) of original rows" in text
