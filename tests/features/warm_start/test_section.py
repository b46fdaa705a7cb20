"""What a warm start took, and what became of it, in figures and words."""

import pytest
from section_figures import figures_of

from sweeper.features.warm_start import section
from sweeper.features.warm_start.section import Figures, WarmStartResult
from sweeper.plans import Plan, ProposedTrial
from sweeper.reporting.compose import report_of
from sweeper.trials import TrialConfig


def hinted(run, **parameters):
    plan = Plan.read(run.plan)
    model = plan.candidates[0].model
    record = {"similarity": 0.5, "study": "earlier"}
    warm = ProposedTrial(
        feature="warm_start", strategy="lora", model=model, parameters=parameters, record=record
    )
    plan.model_copy(update={"proposed": (warm,)}).write(run.plan)


def test_the_trial_that_tried_it_is_found_by_its_parameters(make_run) -> None:
    run = make_run(trials=12)
    configs = [TrialConfig.read(folder / "config.json") for folder in run.trials.iterdir()]
    lora = max((one for one in configs if one.strategy == "lora"), key=lambda one: one.number)
    hinted(run, learning_rate=lora.parameters["learning_rate"])
    (found,) = figures_of(run, section).starts
    assert (found.trial, found.study) == (lora.number, "earlier")
    assert "warm-start" in report_of(run).sections


def test_without_a_warm_start_nothing_is_said(make_run) -> None:
    assert figures_of(make_run(trials=4), section) is None


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, "from earlier (similarity 50%): not tried yet."),
        ({"trial": 4}, "trial 4 has its configuration, but was not completed."),
        (
            {"trial": 4, "value": 0.41, "default_value": 0.5, "best_value": 0.4},
            "trial 4 reached 0.410 nats/decision, its default 0.500, the strategy's best 0.400.",
        ),
    ],
)
def test_it_is_told_how_far_it_came(make_run, changes, ends: str) -> None:
    report = report_of(make_run(trials=2))
    known = {"strategy": "lora", "study": "earlier", "similarity": 0.5}
    found = WarmStartResult.model_validate({**known, **changes})
    assert section.finding(Figures(starts=(found,)), report).endswith(ends)
