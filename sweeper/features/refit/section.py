"""The report's section on the final model, after a search on a part of the rows."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from sweeper.artifact import Record
from sweeper.execution.state import work_items
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.document import Report
from sweeper.trials import TestScore

HEADING = Heading(13, "refit", "Final model")


class Figures(Record):
    """The winner that was trained on all rows.

    Args:
        searched_rows: Train rows of the search; ``rows`` counts all.
        metrics: Metrics on the test split, scored once; empty before that.
    """

    trial: int
    searched_rows: int
    rows: int
    test_loss: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """The final model's figures; None if the search was on all rows or has no winner yet."""
    plan, seal = run.plan, run.seal
    if plan.budget.train_rows is None or seal is None:
        return None
    winner = seal.recommended if seal.recommended is not None else seal.order[0]
    rows = plan.facts.data.train_rows
    item = work_items.training_on_rows(winner, rows, plan.seed, keep_weights=True)
    file = work_items.score_file(run.folder, work_items.score_training(item))
    score = TestScore.read_or_none(file)
    return Figures(
        trial=winner,
        searched_rows=plan.searched_rows,
        rows=rows,
        test_loss=score.test_loss if score else None,
        metrics=score.metrics if score else {},
    )


def finding(figures: Figures, report: Report) -> str:
    """The sentences of ``confidence`` in one line."""
    return " ".join(confidence(figures, report.findings))


def confidence(figures: Figures, findings: Findings) -> Iterator[str]:
    """Sentences among the verdict's limits: the rows it is about, and the final model's scores."""
    yield (
        f"The search trained on {figures.searched_rows:,} of {figures.rows:,} rows: the verdict is "
        "about that part."
    )
    if figures.test_loss is None:
        yield f"Trial {figures.trial} was not yet trained on all rows."
        return
    scores = [f"{name} {words.value(value)}" for name, value in figures.metrics.items()]
    yield (
        f"The final model is trial {figures.trial}, trained once on all rows and scored once on "
        f"the test split: loss {words.number(figures.test_loss)}"
        f"{''.join(f', {score}' for score in scores)}."
    )


card = confidence  # in the model card, the same sentences
