"""What the run cost compared with what was planned, as a section and as one line for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper import units
from sweeper.findings import words
from sweeper.findings.record import PredictedFigure
from sweeper.reporting.blocks import Block, Column, Empty, Number, Table, Text, placed
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import time_name

# The sweep and its phases, in the words of tables.
PHASES = {
    "sweep": "the sweep, elapsed time",
    "download": "of it, downloading models",
    "conversion": "of it, converting models",
    "search": "of it, start, baselines and search",
    "own_text": "of the search, writing general text",
    "confirmation": "of it, confirmation",
    "test": "of it, test split",
}
_OTHERS = {"energy": "energy at the board power", "money": "money"}
# Below this share other programs change no figure that is shown.
_DISTURBED = 0.05


@section(105, "cost", "Cost", "What did it cost, compared with the plan?")
def cost_section(report: Report) -> Iterator[Block]:
    """Time of phases and trials, memory, energy and money."""
    run = report.findings.run
    if report.findings.predictions:
        yield _table(report)
    if run.seconds is not None:
        name = "GPU time" if time_name(report).startswith("GPU") else "training time"
        told = f"The trials used {units.duration(run.seconds)} of {name}"
        more = units.duration(run.confirmation_seconds) if run.confirmation_seconds else ""
        yield Text((f"{told}{f', confirmation {more} more' if more else ''}.",))
    elif not report.findings.predictions:
        yield Empty("not-measured", "No trial of this run has ended.")


def _table(report: Report) -> Table:
    found = report.findings.predictions
    caption = "Time, memory, energy and money: planned and measured"
    disturbed = max(one.disturbed for one in found)
    if disturbed >= _DISTURBED:
        caption += (
            f". Other programs had the processor for up to {words.share(disturbed)} of the time, "
            "which the last column leaves out"
        )
    device = report.plan.device
    columns: list[Column[PredictedFigure]] = [
        Column("what", lambda p: _what(p, device)),
        Number("planned", lambda p: _planned(p, _amount(p, p.predicted), "not planned")),
        Number("range", lambda p: _planned(p, _range(p), words.DASH)),
        Number("measured", lambda p: _amount(p, p.actual)),
        Number("of trials", lambda p: str(p.trials), "/trials"),
        Number("measured ÷ planned", lambda p: units.number(p.factor, 2)),
    ]
    return Table.of("predicted", caption, columns, placed(found, "/findings/predictions"))


def _planned(prediction: PredictedFigure, figure: str, otherwise: str) -> str:
    return otherwise if prediction.factor is None else figure


def _what(prediction: PredictedFigure, device: str) -> str:
    if title := (PHASES | _OTHERS).get(prediction.what):
        return title
    if not prediction.strategy:
        return f"the {prediction.what.replace('_', ' ')}"
    name = words.short(prediction.strategy)
    if prediction.what == "trial":
        return f"a full trial of {name}"
    kind = "peak memory of" if device == "cuda" else "memory added by"
    beside = f", without {prediction.beside}" if prediction.beside else ""
    return f"{kind} the default of {name}{beside}"


def _amount(prediction: PredictedFigure, value: float) -> str:
    if prediction.unit == "s":
        return units.duration(value)
    return units.gib(value) if prediction.unit == "GiB" else f"{value:.3g} {prediction.unit}"


def _range(prediction: PredictedFigure) -> str:
    if prediction.unit == "s":
        return units.span(prediction.low, prediction.high)
    low, high = units.number(prediction.low), units.number(prediction.high)
    return f"{low} to {high} {prediction.unit}"


def predicted_line(predictions: Sequence[PredictedFigure]) -> str:
    """The sweep's time and the highest peak of a default, each with its estimate; empty before
    the end."""
    sweep = next((p for p in predictions if p.what == "sweep"), None)
    if sweep is None:
        return ""
    line = f"took {_time(sweep)}"
    if sweep.disturbed >= _DISTURBED:
        line += (
            f"; for {words.share(sweep.disturbed)} of the time, other programs had the processor"
        )
    for later in (p for p in predictions if p.unit == "s" and not p.predicted):
        name = later.what.replace("_", " ")
        line += f"; the {name}, which was not planned, took {units.duration(later.actual)} more"
    peaks = [p for p in predictions if p.what == "memory"]
    if peaks:
        highest = max(peaks, key=lambda p: p.actual)
        line += (
            f"; peak of the default of {words.short(highest.strategy)} "
            f"{units.gib(highest.actual)}, planned {units.gib(highest.predicted)}"
        )
        line += f", both without {highest.beside}" if highest.beside else ""
    return line


def _time(prediction: PredictedFigure) -> str:
    planned = units.duration(prediction.predicted)
    whole = units.span(prediction.low, prediction.high)
    return f"{units.duration(prediction.actual)}, planned {planned} ({whole})"
