"""Which learning rate and rank? Each strategy by itself."""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.evidence.parameters import TRIALS_FOR_IMPORTANCE
from sweeper.findings.figures import Interval
from sweeper.findings.record import ParameterFinding
from sweeper.hyperparameters import KEY_PARAMETERS
from sweeper.reporting.blocks import Block, Column, Figure, Number, Section, Table, Text, placed
from sweeper.reporting.charts.draw import legend
from sweeper.reporting.charts.parameters import (
    WINDOW,
    importance_panel,
    is_strip,
    parameter_panel,
    window,
)
from sweeper.reporting.charts.scales import focus
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import drawn, no_trials, off_scale, strategy_cell
from sweeper.reporting.sections.plan import declared_table

# How many parameters of a strategy are drawn.
_PANELS = 3


@section(50)
def parameters_section(report: Report) -> Section:
    """A figure for each strategy, then a table of all parameters that were searched."""
    findings = report.findings
    blocks: list[Block] = []
    if not findings.parameters:
        blocks.append(no_trials(report))
    else:
        for strategy in dict.fromkeys(p.strategy for p in findings.parameters):
            figure = _figure(report, strategy)
            if figure is not None:
                blocks.append(figure)
        blocks.append(_table(report))
        if not any(p.importance for p in findings.parameters):
            told = f"Importances need {TRIALS_FOR_IMPORTANCE} completed trials of one "
            blocks.append(Text((f"{told}strategy; with fewer they are noise.",)))
    if findings.trials:  # else the plan is shown whole
        blocks += declared_table(report)
    title = "Which learning rate and rank?"
    return Section("hparams", "Hyperparameters", title, tuple(blocks))


def _figure(report: Report, strategy: str) -> Figure | None:
    """Panels of one strategy, all on the same vertical scale: strategies are never pooled."""
    findings = report.findings
    chosen = _chosen(findings.parameters, strategy)
    trials = [t for t in findings.trials if t.strategy == strategy]
    values = [t.objective for t in trials if t.objective is not None]
    scale = focus(values, higher_is_better=findings.objective.higher_is_better)
    found = [parameter_panel(findings, p, scale, _answer(p)) for p in chosen]
    own = [p for p in findings.parameters if p.strategy == strategy]
    panels = drawn(*found, importance_panel(own, "Importance of each parameter."))
    if not panels:
        return None
    main = next((p for p in chosen if p.within_noise_low is not None), chosen[0])
    note = "Large: the best trial."
    if main.within_noise_low is not None:
        note += " Shaded: values whose trials cannot be told apart from it on the same items."
    if len(values) >= WINDOW:
        note += f" Line: running median over {window(len(values))} trials."
    if any(is_strip(p, trials) for p in chosen):
        note += " Bars: medians."
    note += off_scale(findings, trials, scale)
    return Figure(
        id=f"parameters-{strategy}",
        finding=_answer(main),
        note=note,
        panels=panels,
        legend=legend([strategy]),
    )


def _chosen(parameters: tuple[ParameterFinding, ...], strategy: str) -> list[ParameterFinding]:
    own = [p for p in parameters if p.strategy == strategy and p.varied]
    own.sort(key=lambda p: [*KEY_PARAMETERS, p.parameter].index(p.parameter))
    return own[:_PANELS]


def _answer(finding: ParameterFinding) -> str:
    """The answer for one parameter in a sentence."""
    name = words.sentence(f"{words.strategy(finding.strategy)}, {finding.parameter}")
    best = (
        f"best of {words.plural(finding.trials, 'completed trial')} at {words.value(finding.best)}"
    )
    low, high = finding.within_noise_low, finding.within_noise_high
    if low is not None:
        return f"{name}: {best}; {words.span(low, high)} cannot be told apart."
    return f"{name}: {best}."


def _table(report: Report) -> Table:
    findings = report.findings
    columns: list[Column[ParameterFinding]] = [
        Column("strategy", lambda p: strategy_cell(p.strategy), "/strategy"),
        Column("parameter", lambda p: p.parameter, "/parameter"),
        Number("best", lambda p: words.value(p.best), "/best"),
        Number("default", _default, "/default"),
        Column("within noise of the best", _within),
        Column("allowed range", lambda p: words.span(p.low, p.high)),
        Number("completed trials", lambda p: str(p.trials), "/trials"),
    ]
    if any(p.importance for p in findings.parameters):
        unit = "share; range when a fifth of the trials is left out"
        columns.append(Number("importance", lambda p: _importance(p.importance), "", unit))
    columns.append(Column("remark", _remark))
    return Table.of(
        "parameter-table",
        "Every searched parameter",
        columns,
        placed(findings.parameters, "/findings/parameters"),
        trial=lambda p: p.best_trial,
    )


def _default(finding: ParameterFinding) -> str:
    return words.DASH if finding.default is None else words.value(finding.default)


def _within(finding: ParameterFinding) -> str:
    low, high = finding.within_noise_low, finding.within_noise_high
    if finding.within_noise:
        return ", ".join(words.value(choice) for choice in finding.within_noise)
    return words.value(low) if low is not None and low == high else words.span(low, high)


def _importance(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return words.DASH
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _remark(finding: ParameterFinding) -> str:
    if not finding.varied:
        return "did not vary"
    if finding.at_edge:
        side = "lower" if finding.at_edge == "low" else "upper"
        return f"best within 10% of the {side} bound: the optimum may be outside the range"
    return ""
