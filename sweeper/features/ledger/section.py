"""Which predictions of the plan held: a sentence on the report's confidence, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper import units
from sweeper.artifact import Record
from sweeper.errors import UsageError
from sweeper.features.ledger._predictions import SCORES, RunScores, Scored, WhyNotJudged
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, NotMeasured
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Number, Table, with_json_pointers
from sweeper.reporting.document import Report

HEADING = Heading(135, "predictions", "Predictions")

_REASONS_NOT_JUDGED: dict[WhyNotJudged, str] = {
    "not-measured": "not judged: not measured",
    "other-work": "not judged: the run did other work than was planned",
    "no-points": "not judged: the metric has no points",
}


class Figures(Record):
    """The predictions of the plan with their scores."""

    scored: tuple[Scored, ...]

    @property
    def judged(self) -> list[Scored]:
        """The predictions with an outcome."""
        return [scored for scored in self.scored if scored.held is not None]


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured | None:
    """The scores of a run; None before they are written."""
    path = run.folder.feature("ledger") / SCORES
    if not path.exists():
        return None
    try:
        return Figures(scored=RunScores.read(path).scored)
    except UsageError as error:
        return NotMeasured(reason=f"The scores of the plan's predictions cannot be read: {error}")


def finding(figures: Figures, report: Report) -> str:
    """How many predictions held."""
    return (
        f"{_held_sentence(figures.judged)}." if figures.judged else "No prediction could be judged."
    )


def confidence(figures: Figures, findings: Findings) -> Iterator[str]:
    """How many predictions held, and which did not; nothing if no prediction was judged."""
    if judged := figures.judged:
        missed = [_title(scored) for scored in judged if not scored.held]
        yield (
            f"{_held_sentence(judged)}; missed: {units.joined(missed)}."
            if missed
            else f"{_held_sentence(judged)}."
        )


def _held_sentence(judged: Sequence[Scored]) -> str:
    held = sum(bool(scored.held) for scored in judged)
    return f"{held} of {units.plural(len(judged), 'prediction')} of the plan held"


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """Every prediction, what was observed, and whether it held."""
    yield _table(figures.scored)


def _table(scored: Sequence[Scored]) -> Table:
    columns: list[Column[Scored]] = [
        Column("prediction", _title),
        Number("expected", lambda row: _figure(row, row.value)),
        Number("90% interval", _interval),
        Number("observed", lambda row: _figure(row, row.observed)),
        Column("outcome", _outcome),
    ]
    caption = "Predictions of the plan, written before the first trial"
    note = (
        "Times are judged without those of other programs; differences are in points, and judged "
    )
    note += "with their noise. An event has a probability, and is observed with 100% or 0%."
    rows = with_json_pointers(scored, "/sections/predictions/scored")
    return Table.of("predictions", caption, columns, rows, note=note)


def _title(scored: Scored) -> str:
    name, other = words.short(scored.strategy), words.short(scored.against)
    return {
        "memory": f"memory of {name}",
        "trial-time": f"a full trial of {name}",
        "sweep-time": "the sweep",
        "money": "money",
        "best-loss": "the best loss, as a share of the loss of guessing",
        "search-gain": f"gain over the default of {name}",
        "strategy-gap": f"{name} against {other}",
        "rule-gap": f"{name} against {other} by the rule {scored.rule}",
        "more-rows": "decrease of the loss with twice the rows",
        "best-strategy": f"{name} better than {other}",
        "fine-tuning-pays": f"{name} better than {other}, whose base stays frozen",
    }[scored.kind]


def _figure(scored: Scored, value: float | None) -> str:
    if value is None:
        return words.DASH
    if scored.unit in ("probability", "share"):
        return words.share(value)
    if scored.unit == "percent":
        return words.minus(f"{value:+.0f}%")
    if scored.unit == "s":
        return units.duration(value)
    if scored.unit == "points":
        return words.minus(f"{value:+.1f}")
    return f"{units.number(value)} {scored.unit}"


def _interval(scored: Scored) -> str:
    if scored.low is None:
        return words.DASH
    return f"{_figure(scored, scored.low)} to {_figure(scored, scored.high)}"


def _outcome(scored: Scored) -> str:
    if scored.open is not None:
        return _REASONS_NOT_JUDGED[scored.open]
    return "held" if scored.held else "missed"
