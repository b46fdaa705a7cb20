"""The report's section that compares the best trial with models whose answers the user saved."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Comparison, Findings, Metric
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Table, with_json_pointers
from sweeper.reporting.document import Report

HEADING = Heading(15, "answers", "Saved answers")


class ReferenceComparison(Record):
    """The best trial compared with a model whose answers the user saved, on the test split.

    Args:
        title: Name of the model.
        comparison: The difference is trial minus model.
    """

    title: str
    comparison: Comparison


class Figures(Record):
    """The comparisons with all models whose answers the user saved."""

    models: tuple[ReferenceComparison, ...]
    margin_points: float
    metric: Metric


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """The verdict's comparisons with models whose answers were saved; None if there are none."""
    titles = {
        baseline.name: baseline.title for baseline in findings.baselines if baseline.reference
    }
    models = tuple(
        ReferenceComparison(title=titles[comparison.second], comparison=comparison)
        for comparison in findings.verdict.comparisons
        if comparison.second in titles
    )
    if not models:
        return None
    return Figures(models=models, margin_points=findings.margin_points, metric=findings.metric)


def sentence(model: ReferenceComparison, figures: Figures) -> str:
    """A sentence that compares the trial with one model."""
    comparison = model.comparison
    trial = comparison.first.replace("-", " ")
    difference = words.difference(comparison.difference, figures.metric)
    margin = f"by more than {words.points(figures.margin_points)}"
    if comparison.outcome == "better":
        answer = f"{trial} is better than {model.title}"
    elif comparison.outcome == "worse":
        answer = f"{trial} is worse than {model.title}"
    elif comparison.not_worse:
        answer = f"{trial} is not worse than {model.title} {margin}"
    else:
        answer = f"the test split cannot tell whether {trial} is worse than {model.title} {margin}"
        difference = f"{difference}, {words.outcome(comparison, figures.margin_points / 100)}"
    return f"{words.sentence(answer)}: {difference}."


def because(figures: Figures, findings: Findings) -> Iterator[str]:
    """One sentence for each model, below the verdict."""
    return (sentence(model, figures) for model in figures.models)


card = because  # in the model card, the same sentences


def finding(figures: Figures, report: Report) -> str:
    """The sentence on the first model."""
    return sentence(figures.models[0], figures)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A table with one line for each model."""
    columns: list[Column[ReferenceComparison]] = [
        Column.of("model", "/title"),
        Column(
            "difference",
            lambda row: words.difference(row.comparison.difference, figures.metric),
            "/comparison/difference",
        ),
        Column("result", lambda row: sentence(row, figures), "/comparison/not_worse"),
    ]
    rows = with_json_pointers(figures.models, "/sections/answers/models")
    yield Table.of("answers-table", "Trial minus model, on the test split", columns, rows)
