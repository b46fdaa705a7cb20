"""A first stage in the report: its seconds, its base and the trial without it."""

import pytest

from sweeper.findings.compute import compute
from sweeper.findings.study.trial_rows import result_seconds
from sweeper.reporting.compose import report_of
from sweeper.reporting.csvfiles import trials_csv
from sweeper.reporting.modelcard import model_card
from sweeper.trials import FirstStageResult, TrialConfig, TrialResult

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
