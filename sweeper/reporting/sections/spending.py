"""What the run cost, compared with the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study.predicted_figures import PredictedFigure, predicted_figures
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Number, Table, Text, with_json_pointers
from sweeper.reporting.document import Report

# Figure (``PredictedFigure.what``) to its title.
_TITLES = {
    "sweep": "the sweep, elapsed time",
    "download": "of it, downloading models",
    "conversion": "of it, converting models",
    "search": "of it, start, baselines and search",
    "confirmation": "of it, confirmation",
    "test": "of it, test split",
    "money": "money",
}
# Smallest share of the time with other programs on the processor that is mentioned.
_MIN_DISTURBED_SHARE = 0.05

HEADING = Heading(130, "spending", "Cost in detail")


class Figures(Record):
    """Planned figures that the run has measured."""

    predictions: tuple[PredictedFigure, ...]


def finding(figures: Figures, report: Report) -> str:
    """The sweep's measured and planned time; before its end, the time of its trials."""
    seconds = report.findings.run.seconds
    trial_sentence = f"The trials took {units.duration(seconds)}." if seconds is not None else ""
    return took_sentence(figures.predictions) or trial_sentence


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A table of planned and measured time, memory and money, and the trials' total time."""
    run = report.findings.run
    if figures.predictions:
        yield _table(figures.predictions, report.plan.device)
    if run.seconds is not None:
        name = "GPU time" if report.plan.device == "cuda" else "training time"
        text = f"The trials used {units.duration(run.seconds)} of {name}"
        if run.confirmation_seconds:
            text += f", confirmation runs another {units.duration(run.confirmation_seconds)}"
        yield Text((f"{text}.",))


def _table(predictions: Sequence[PredictedFigure], device: str) -> Table:
    caption = "Time, memory and money: planned and measured"
    max_disturbed = max(row.disturbed for row in predictions)
    if max_disturbed >= _MIN_DISTURBED_SHARE:
        share = words.share(max_disturbed)
        caption += (
            f". Other programs had the processor for up to {share} of the time, "
            "which the last column leaves out"
        )
    columns: list[Column[PredictedFigure]] = [
        Column("what", lambda p: _figure_title(p, device)),
        Number("planned", lambda p: _planned(p, _amount(p, p.predicted), "not planned")),
        Number("range", lambda p: _planned(p, _range(p), words.DASH)),
        Number("measured", lambda p: _amount(p, p.actual)),
        Number.of("of trials", "/trials"),
        Number("measured ÷ planned", lambda p: units.number(p.factor, 2)),
    ]
    return Table.of(
        "predicted",
        caption,
        columns,
        with_json_pointers(predictions, "/sections/spending/predictions"),
    )


def _planned(prediction: PredictedFigure, figure: str, otherwise: str) -> str:
    """``figure``, or ``otherwise`` if the figure was not planned."""
    return otherwise if prediction.factor is None else figure


def _figure_title(prediction: PredictedFigure, device: str) -> str:
    if title := prediction.title or _TITLES.get(prediction.what):
        return title
    if not prediction.strategy:
        return f"the {prediction.what.replace('_', ' ')}"
    name = words.short(prediction.strategy)
    if prediction.what == "trial":
        return f"a full trial of {name}"
    kind = "peak memory of" if device == "cuda" else "memory added by"
    overhead = f", without {prediction.overhead}" if prediction.overhead else ""
    return f"{kind} the default of {name}{overhead}"


def _amount(prediction: PredictedFigure, value: float) -> str:
    if prediction.unit == "s":
        return units.duration(value)
    return units.gib(value) if prediction.unit == "GiB" else f"{value:.3g} {prediction.unit}"


def _range(prediction: PredictedFigure) -> str:
    if prediction.unit == "s":
        return units.span(prediction.low, prediction.high)
    low, high = units.number(prediction.low), units.number(prediction.high)
    return f"{low} to {high} {prediction.unit}"


def took_sentence(predictions: Sequence[PredictedFigure]) -> str:
    """The sweep's measured and planned time in a sentence; empty before its end."""
    sweep = next((p for p in predictions if p.what == "sweep"), None)
    if sweep is None:
        return ""
    planned_text = (
        f"planned {units.duration(sweep.predicted)} ({units.span(sweep.low, sweep.high)})"
    )
    disturbed_text = f"; other programs had {words.share(sweep.disturbed)} of the processor's time"
    disturbed = disturbed_text if sweep.disturbed >= _MIN_DISTURBED_SHARE else ""
    return f"Took {units.duration(sweep.actual)}, {planned_text}{disturbed}."


def compute(run: RunFiles, findings: Findings) -> Figures:
    """All planned figures that this run has measured."""
    return Figures(predictions=tuple(predicted_figures(run)))
