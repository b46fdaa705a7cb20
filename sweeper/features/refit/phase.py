"""Trains the winner once on all rows, after a search on a part of them, and scores it once."""

from __future__ import annotations

from sweeper.execution.state import work_items
from sweeper.features.parts import Study


def after_test(study: Study) -> None:
    """Train and score the winner, if the search was on a part of the rows."""
    plan, seal = study.plan, study.seal
    if plan.budget.train_rows is None:
        return
    winner = seal.recommended if seal.recommended is not None else seal.order[0]
    item = work_items.training_on_rows(
        winner, plan.facts.data.train_rows, plan.seed, keep_weights=True
    )
    study.train("refit", [item])
    if work_items.is_done(study.run, item):
        study.train("refit", [work_items.score_training(item)])
