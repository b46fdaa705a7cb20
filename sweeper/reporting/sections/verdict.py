"""What do I train? The answer, all models on the test split, three numbers, the next step."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.evaluation.significance import FEWEST_ITEMS
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import Comparison, Metric
from sweeper.findings.verdict.headline import headline_figures
from sweeper.findings.verdict.next_step import next_step_line
from sweeper.findings.verdict.scoreboard import scoreboard, trial_title
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Number,
    Table,
    VerdictCard,
    placed,
)
from sweeper.reporting.charts.forest import forest
from sweeper.reporting.document import Report
from sweeper.reporting.palette import look
from sweeper.reporting.parts import described, drawn, limits_line, parameters_text, searched
from sweeper.reporting.sections._plan import plan_blocks
from sweeper.reporting.sections._tested import tested_tables

HEADING = Heading(10, "verdict", "What to train")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The answer first."""
    decided, step = report.findings.verdict, report.findings.next_step
    row = described(report)
    yield VerdictCard(
        lead=decided.answer,
        sentence=words.sentence(decided.reasons),
        because=report.because,
        forest=_forest(report),
        figures=tuple(headline_figures(report.findings)),
        configuration=parameters_text(
            {
                name: value
                for name, value in (row.parameters if row else {}).items()
                if name in searched(report, row.strategy if row else "")
            }
        ),
        step=next_step_line(step) if step else "",
        command=step.command if step else "",
        limits=limits_line(report.findings),
        css=look(row.strategy).css if row and not decided.recommended_baseline else "",
        trial=row.number if row else None,
    )
    if report.findings.run.ended == 0:
        yield from plan_blocks(report)


def _forest(report: Report) -> Figure | None:
    board = scoreboard(report.findings)
    tables = [*([_comparisons(report)] if report.findings.verdict.comparisons else ())]
    tables += tested_tables(report)
    note = "Large: recommended. Hollow: baseline."
    if any(model.tied for model in board.models):
        note += " Bracket: cannot be told apart from the chosen trial."
    panels = drawn(forest(board, report.findings.verdict.sentence))
    return (
        Figure("forest", f"{board.caption}.", note, panels, tables=tuple(tables))
        if panels
        else None
    )


def _comparisons(report: Report) -> Table:
    findings, decided = report.findings, report.findings.verdict
    smallest = findings.margin_points / 100
    loss = Metric(name="loss", title="loss", higher_is_better=False, unit=findings.loss_unit)
    first = model_title(report, decided.comparisons[0].first)
    margin = words.points(findings.margin_points)
    if findings.metric.unit != "points":
        margin = f"{words.value(smallest)} {findings.metric.unit}"

    def metric(comparison: Comparison) -> Metric:
        return loss if comparison.metric == "loss" else findings.metric

    columns: list[Column[Comparison]] = [
        Column("B", lambda c: model_title(report, c.second)),
        Column("in", lambda c: metric(c).title),
        Number("A − B (95% CI)", lambda c: words.difference(c.difference, metric(c))),
        Column("A against B", lambda c: _outcome(c, smallest), "/outcome"),
        Number.of("p, Holm", "/adjusted_p", lambda p: "<0.001" if p < 0.001 else f"{p:.2g}"),
        Number.of("to settle it", "/more_items", words.more),
    ]
    rows = placed(decided.comparisons, "/findings/verdict/comparisons")
    rows += placed(decided.in_loss, "/findings/verdict/in_loss")
    return Table.of(
        "comparisons",
        f"On the sealed test split, item by item: A is {first}",
        columns,
        rows,
        note="Better: the interval excludes 0, also after Holm's correction, and the difference "
        f"is at least {margin}. Equivalent: the whole interval is within that margin. Within "
        f"noise: none of these, fewer than {FEWEST_ITEMS} items, or no model with several seeds.",
    )


def _outcome(comparison: Comparison, smallest: float) -> Cell:
    css = f"o-{comparison.outcome.replace(' ', '-')}"
    return Cell(words.outcome(comparison, smallest), css=css)


def model_title(report: Report, name: str) -> str:
    """A compared model in words: a trial with its strategy, or a baseline's title."""
    findings = report.findings
    row = next((trial for trial in findings.trials if f"trial-{trial.number}" == name), None)
    baseline = findings.baseline(name)
    return trial_title(row) if row else baseline.title if baseline else name
