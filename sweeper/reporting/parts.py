"""Parts that sections share: texts of numbers, parameters and limits, and common blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper import units
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.hyperparameters import SHORT_NAMES
from sweeper.reporting.blocks import Cell, Drawing, style_of
from sweeper.reporting.charts.scales import Scale
from sweeper.reporting.document import Report
from sweeper.spec import Scalar
from sweeper.trials import Trial

# Trials outside of a chart that its caption lists.
_MAX_LISTED = 4


def strategy_cell(strategy: str) -> Cell:
    """A strategy's name with its symbol."""
    return Cell(words.short(strategy), css=style_of(strategy).css)


def number_text(value: float | None) -> str:
    """A number with three significant digits; a dash if None."""
    return words.minus(units.number(value))


def percent(value: float) -> str:
    """A share in per cent, without the per cent sign."""
    return f"{100 * value:.1f}"


def parameters_text(parameters: Mapping[str, Scalar]) -> str:
    """A configuration in one line."""
    return " · ".join(
        f"{SHORT_NAMES.get(name, name)} {words.value(value)}" for name, value in parameters.items()
    )


def limits_line(findings: Findings) -> str:
    """The number of limits, and the decisive one if there is one; empty without limits."""
    if not findings.limits:
        return ""
    line = f"{units.plural(len(findings.limits), 'limit applies', 'limits apply')}."
    if limit := findings.decisive_limit:
        return f"{line} This could change the verdict: {limit.text} {limit.action}"
    return line


def mix_lines(report: Report, row: Trial | None) -> tuple[str, ...]:
    """The parts of the training data, and how much of each a trial was trained on."""
    data = report.plan.data
    lines = []
    for part in data.sources:
        weight = "" if part.weight is None else f", weight {units.number(part.weight)}"
        rows = ", ".join(f"{count:,} {split}" for split, count in part.rows.items())
        loss = row.result.validation_by_source.get(part.title) if row else None
        scored = "" if loss is None else f"; validation loss {words.loss(loss)}"
        lines.append(f"Source {part.title}: {rows} rows{weight}{scored}")
    if data.further_rows:
        further = ", ".join(f"{count:,} {source}" for source, count in data.further_rows.items())
        lines.append(f"Further rows, in train alone: {further}")
    if row is not None and row.result.seen:
        seen = "; ".join(
            f"{part.rows:,} rows ({part.tokens:,} tokens) of {name}"
            for name, part in row.result.seen.items()
        )
        lines.append(f"Trial {row.number} trained on {seen}, repetitions included")
    return tuple(lines)


def minutes(seconds: float | None) -> str:
    """Seconds as minutes, with three significant digits."""
    return number_text(None if seconds is None else seconds / 60)


def existing_panels(*panels: Drawing | None) -> tuple[Drawing, ...]:
    """The panels that are not None."""
    return tuple(panel for panel in panels if panel is not None)


def off_scale_sentence(findings: Findings, trials: Sequence[Trial], scale: Scale) -> str:
    """A sentence on the trials outside of a chart's axis; empty if there is none."""
    metric = findings.objective
    scored = [(t.value, t.number) for t in trials if t.value is not None]
    outside = sorted(
        (pair for pair in scored if scale.off(pair[0])), key=lambda pair: -metric.as_cost(pair[0])
    )
    if not outside:
        return ""
    listed = [f"#{number} {words.score(value, metric)}" for value, number in outside[:_MAX_LISTED]]
    side = "Below" if scale.is_open_below else "Above"
    rest = f" and {len(outside) - _MAX_LISTED} more" if len(outside) > _MAX_LISTED else ""
    return f" {side} the drawn range, with an arrow at its edge: {', '.join(listed)}{rest}."
