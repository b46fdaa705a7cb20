"""Augmented rows in the report: their share of what a trial trained on, and what was mixed."""

import pytest
from section_figures import figures_of

from sweeper.facts.record import SourceFacts
from sweeper.features.augmentation import section
from sweeper.plans import Parameter, Plan
from sweeper.reporting.compose import report_of
from sweeper.trials import Seen, TrialConfig, TrialResult

SEEN = {
    "augmented (paraphrase)": Seen(rows=40, tokens=900),
    "original rows": Seen(rows=120, tokens=2_500),
}
ROWS = Parameter(
    kind="categorical",
    choices=("none", "all"),
    default="all",
    off_value="none",
    source="common practice",
)


@pytest.fixture
def augmented(make):
    """Two trials of LoRA: 0 with augmented rows and 1 without, else the same."""
    run = make(trials=2, prune=False, losses={0: 0.2, 1: 0.9}, strategies=("lora",))
    plan = Plan.read(run.plan)
    sources = (SourceFacts(title="mine", rows={"train": 90, "test": 10}, weight=2.0),)
    further = {"augmented (paraphrase)": 30}
    data = plan.facts.data.model_copy(update={"further_rows": further, "sources": sources})
    facts = plan.facts.model_copy(update={"data": data})
    candidates = [
        c.model_copy(update={"parameters": {**c.parameters, "augmented_rows": ROWS}})
        for c in plan.candidates
    ]
    update = {"facts": facts, "candidates": tuple(candidates)}
    plan.model_copy(update=update).write(run.plan)
    for number, way in enumerate(("all", "none")):
        path = run.trial(number) / "config.json"
        config = TrialConfig.read(path)
        parameters = {**config.parameters, "augmented_rows": way}
        config.model_copy(update={"parameters": parameters}).write(path)
    path = run.trial(0) / "result.json"
    parts = {"seen": SEEN, "validation_by_source": {"mine": 0.25}}
    TrialResult.read(path).model_copy(update=parts).write(path)
    return run


def test_the_share_of_augmented_rows_is_that_of_the_compared_trial(augmented):
    (share,) = figures_of(augmented, section).trials
    assert (share.trial, share.augmented_rows, share.rows) == (0, 40, 160)
    report = report_of(augmented)
    line = section.finding(report.figures("augmentation", section.Figures), report)
    assert line.startswith("40 of the 160 rows that trial 0 trained on")
