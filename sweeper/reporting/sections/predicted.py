"""The plan's figures beside the measured ones, as a table and as one line for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper import units
from sweeper.findings import words
from sweeper.findings.record import PredictedFigure
from sweeper.reporting.blocks import Cell, Column, Row, Table
from sweeper.reporting.document import Report

# The sweep, and the phases of it that not every run has, in the words of tables.
PHASES = {
    "sweep": "the sweep, on the clock",
    "download": "of it, downloading models",
    "conversion": "of it, converting models",
    "own_text": "of it, writing general text",
    "data_curve": "of it, the data curve",
    "suite": "of it, scoring the suite",
}


def predicted_table(report: Report) -> Table | None:
    """Planned beside measured figures; None if nothing was measured."""
    found = report.findings.predictions
    if not found:
        return None
    return Table(
        id="predicted",
        caption="The plan's estimates against what was measured",
        columns=(
            Column("what"),
            Column("planned", number=True),
            Column("range", number=True),
            Column("measured", number=True),
            Column("measured ÷ planned", number=True),
            Column("of trials", number=True, pointer="/trials"),
        ),
        rows=tuple(
            _row(prediction, report.plan.device, f"/findings/predictions/{i}")
            for i, prediction in enumerate(found)
        ),
    )


def _row(prediction: PredictedFigure, device: str, pointer: str) -> Row:
    factor = prediction.factor
    return Row(
        cells=(
            Cell(_what(prediction, device)),
            Cell(_amount(prediction, prediction.predicted)),
            Cell(_range(prediction)),
            Cell(_amount(prediction, prediction.actual)),
            Cell(words.DASH if factor is None else units.number(factor, 2)),
            Cell(str(prediction.trials)),
        ),
        pointer=pointer,
    )


def _what(prediction: PredictedFigure, device: str) -> str:
    if prediction.what in PHASES:
        return PHASES[prediction.what]
    name = words.short(prediction.strategy)
    if prediction.what == "trial":
        return f"a full trial of {name}"
    return f"{'peak' if device == 'cuda' else 'memory growth'}, default of {name}"


def _amount(prediction: PredictedFigure, value: float) -> str:
    return units.duration(value) if prediction.unit == "s" else units.gib(value)


def _range(prediction: PredictedFigure) -> str:
    if prediction.unit == "s":
        return units.span(prediction.low, prediction.high)
    return f"{units.number(prediction.low)} to {units.number(prediction.high)} GiB"


def predicted_line(predictions: Sequence[PredictedFigure]) -> str:
    """The sweep's time, that of its phases beside workers, and the highest peak of a default, each
    beside its estimate; empty before the end."""
    sweep = next((p for p in predictions if p.what == "sweep"), None)
    if sweep is None:
        return ""
    line = f"took {_time(sweep)}"
    for phase in predictions:
        if phase.what != "sweep" and phase.what in PHASES:
            line += f"; {phase.what.replace('_', ' ')} {_time(phase)}"
    peaks = [p for p in predictions if p.what == "memory"]
    if peaks:
        highest = max(peaks, key=lambda p: p.actual)
        line += (
            f"; peak of the default of {words.short(highest.strategy)} "
            f"{units.gib(highest.actual)}, planned {units.gib(highest.predicted)}"
        )
    return line


def _time(prediction: PredictedFigure) -> str:
    planned = units.duration(prediction.predicted)
    whole = units.span(prediction.low, prediction.high)
    return f"{units.duration(prediction.actual)}, planned {planned} ({whole})"
