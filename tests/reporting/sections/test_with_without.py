"""Did a first stage or augmentation pay? Trials with it beside trials without it."""

import pytest
from section_figures import blocks_of, figures_of

from sweeper.facts.record import SourceFacts
from sweeper.findings.compute import compute
from sweeper.findings.study.trial_rows import result_seconds
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.csvfiles import trials_csv
from sweeper.reporting.modelcard import model_card
from sweeper.reporting.sections import repro, with_without
from sweeper.trials import FirstStageResult, Seen, TrialConfig, TrialResult

STAGE = FirstStageResult(
    id="ab12",
    strategy="full",
    documents=449,
    optimizer_steps=20,
    tokens=160_000,
    seconds=300.0,
    held_out_loss_before=2.9,
    held_out_loss_after=2.7,
    ran_here=True,
)
SEEN = {
    "augmented (paraphrase)": Seen(rows=40, tokens=900),
    "original rows": Seen(rows=120, tokens=2_500),
}
READING = {"first_stage": "full", "first_stage_learning_rate": 5e-5}


@pytest.fixture
def staged(make):
    """Two trials of LoRA: 0 with a first stage and 1 without, else the same."""

    def write(losses, other=None, **changes):
        run = make(trials=2, prune=False, losses=losses, strategies=("lora",), **changes)
        same = TrialConfig.read(run.trial(0) / "config.json").parameters
        for number, own in ((0, READING), (1, {"first_stage": "none", **(other or {})})):
            path = run.trial(number) / "config.json"
            config = TrialConfig.read(path)
            config.model_copy(update={"parameters": {**same, **own}}).write(path)
        path = run.trial(0) / "result.json"
        TrialResult.read(path).model_copy(update={"first_stage": STAGE}).write(path)
        return run

    return write


def test_a_first_stage_that_pays_is_called_better(staged):
    run = staged({0: 0.2, 1: 0.9}, validation_items=400, seeds=2)
    (found,) = figures_of(run, with_without).first_stage
    assert (found.with_trial, found.without_trial) == (0, 1)
    assert found.same_configuration
    assert found.gain.value == pytest.approx(0.7, abs=0.1)
    assert found.outcome == "better"
    said = report_of(run).findings.verdict.because[-1]
    assert "160,000 tokens in 5 min" in said
    assert "otherwise the same)" in said
    assert "from 2.90 to 2.70" in said


def test_one_that_does_not_is_said_to_be_worse_or_noise(staged):
    (found,) = figures_of(
        staged({0: 0.9, 1: 0.2}, validation_items=400, seeds=2), with_without
    ).first_stage
    assert found.gain.value < 0
    assert found.outcome == "worse"


def test_one_seed_each_shows_no_gain_however_large(staged):
    run = staged({0: 0.2, 1: 0.9}, validation_items=400, seeds=1)
    (found,) = figures_of(run, with_without).first_stage
    assert found.gain.low > 0.5
    assert (found.outcome, found.lacking) == ("within noise", "seeds")
    assert (
        "the interval covers the choice of items only)"
        in report_of(run).findings.verdict.because[-1]
    )


def test_the_interval_of_trials_with_several_seeds_is_not_said_to_leave_them_out(staged):
    said = report_of(staged({0: 0.5, 1: 0.6}, finalists=2, seeds=3)).findings.verdict.because[-1]
    assert "otherwise the same)" in said


def test_trials_that_differ_in_more_are_compared_as_the_best_of_each(staged):
    run = staged({0: 0.5, 1: 0.5}, other={"r": 99})
    assert not figures_of(run, with_without).first_stage[0].same_configuration
    assert "the best of each" in report_of(run).findings.verdict.because[-1]


def test_without_a_first_stage_nothing_is_said(make):
    assert figures_of(make(trials=3), with_without) is None


def test_its_seconds_count_once_and_where_it_ran(staged):
    run = staged({0: 0.2, 1: 0.9})
    findings = compute(run)
    result = TrialResult.read(run.trial(0) / "result.json")
    shared = result.model_copy(update={"first_stage": STAGE.model_copy(update={"ran_here": False})})
    assert result_seconds(result) == pytest.approx(300 + result_seconds(shared))
    with_it, without = findings.trials
    assert with_it.first_stage == STAGE
    assert without.first_stage is None
    assert with_it.seconds == result_seconds(result)
    line = trials_csv(findings).splitlines()[1]
    assert "ab12,160000,300.0" in line


def test_the_model_card_names_the_base_of_the_adapter(staged):
    run = staged({0: 0.2, 1: 0.9})
    card = model_card(report_of(run))
    assert "adapter on first_stages/ab12 in the run folder" in card
    assert "449 documents, 160,000 tokens, by full" in card


def test_the_twin_without_a_first_stage_is_not_called_the_default(staged):
    run = staged({0: 0.2, 1: 0.9})
    for number in (0, 1):
        path = run.trial(number) / "config.json"
        TrialConfig.read(path).model_copy(update={"origin": "default"}).write(path)
    findings = compute(run)
    assert findings.verdict.recommended_trial == 0
    assert not any("against its default" in line for line in findings.verdict.because)


@pytest.fixture
def augmented(make):
    """Two trials of LoRA: 0 with augmented rows and 1 without, else the same."""

    def write(losses, other=None, **changes):
        run = make(trials=2, prune=False, losses=losses, strategies=("lora",), **changes)
        plan = Plan.read(run.plan)
        further = {"augmented (paraphrase)": 30}
        sources = (SourceFacts(title="mine", rows={"train": 90, "test": 10}, weight=2.0),)
        data = plan.facts.data.model_copy(update={"further_rows": further, "sources": sources})
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
        assert "30 augmented (paraphrase)" in text
        assert "120 rows (2,500 tokens) of original rows" in text
