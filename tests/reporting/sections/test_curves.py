"""What pruning did to the trials of a study."""

import pytest
from section_figures import figures_of

from sweeper.reporting.sections import curves


def test_pruning_spared_what_the_rest_of_the_budget_would_have_taken(make):
    run = make(trials=4, ends={1: "PRUNED"}, prune=False)
    # pruned at rung 2 of 8 after a quarter of 60 s: three quarters were spared
    figures = figures_of(run, curves)
    assert figures.saved_seconds == pytest.approx(45.0)
    assert figures.median_prune_step == 120
    assert figures.rung_items == 60


@pytest.mark.parametrize(("rise", "said"), [(0.5, True), (0.0001, False)])
def test_a_loss_rose_again_only_if_it_rose_by_more_than_seeds_differ(report, rise, said):
    made = report(trials=6, prune=False)
    best = made.findings.strategies[0].best_trial
    trials = []
    for row in made.findings.trials:
        *_, last = row.rungs
        higher = last.model_copy(update={"validation_loss": last.validation_loss + rise})
        risen = (*row.rungs, higher) if row.number == best else row.rungs
        trials.append(row.model_copy(update={"rungs": risen}))
    findings = made.findings.model_copy(update={"trials": tuple(trials)})
    line = curves.finding(curves.Figures(), made.model_copy(update={"findings": findings}))
    assert (f"trial {best} after rung" in line) is said
