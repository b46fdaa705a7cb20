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
