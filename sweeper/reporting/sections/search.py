"""Did the search beat the default, and what do baselines reach?"""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.record import Findings, SearchGain
from sweeper.reporting.blocks import Block, Cell, Column, Figure, Row, Section, Table
from sweeper.reporting.charts.draw import legend
from sweeper.reporting.charts.search import progress, progress_scale, reference_rules, slope
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import (
    completed,
    drawn,
    interval_text,
    no_trials,
    number_cell,
    off_scale,
    one_trial,
    strategy_cell,
)
from sweeper.trials import BaselineResult


@section(20)
def search_section(report: Report) -> Section:
    """Default against best, best so far, baselines."""
    findings = report.findings
    blocks: list[Block] = []
    if completed(report) > 1:
        blocks.append(_figure(report))
    else:
        blocks.append(one_trial(report) if completed(report) else no_trials(report))
    if findings.baselines:
        blocks.append(_baselines(report))
    return Section("search", "Search", "Did the search beat the default?", tuple(blocks))


def _figure(report: Report) -> Figure:
    findings = report.findings
    finding = search_sentence(report)
    shown = {rule["label"] for rule in reference_rules(findings)}
    beyond = [
        f"{b.title} {words.score(b.objective, findings.objective)}"
        for b in findings.baselines
        if b.objective is not None and b.title not in shown
    ]
    note = "Left: the default of each strategy and the best that the search found, with the 95% "
    note += f"interval over {_items(report)} validation items. Right: every completed trial and "
    note += "the best so far. The best was chosen on these items, so its gain looks too large; "
    note += "figures of the test split do not have this bias."
    if beyond:
        note += f" Off the chart: {words.joined(beyond)}."
    note += off_scale(findings, findings.trials, progress_scale(findings))
    strategies = [g.strategy for g in findings.gains if g.best_value is not None]
    return Figure(
        id="search-gain",
        finding=finding,
        note=note,
        panels=drawn(slope(findings, finding), progress(findings, finding)),
        legend=legend(strategies),
        table=_gains(report),
    )


def search_sentence(report: Report) -> str:
    """The gain of the search over the defaults, with its interval."""
    findings = report.findings
    best = min(
        (g for g in findings.gains if g.best_value is not None),
        key=lambda g: findings.objective.worse(g.best_value or 0.0),
        default=None,
    )
    if best is None:
        return "No trial completed."
    name = words.sentence(words.strategy(best.strategy))
    if best.gain is None or best.outcome is None:
        if best.best_trial == best.default_trial:
            return f"{name}: no trial beat the default. The default would have been enough."
        return f"{name}: there is no completed default to compare the best trial with."
    metric = findings.objective
    gap = words.difference(best.gain, metric)
    pairing = words.minus_of("default", "best found", metric)
    if best.outcome == "better":
        word = metric.direction.split()[0]
        return f"{name}: {pairing} = {gap}, a {word} {words.bare(metric)} than the default's."
    told = words.outcome(best.outcome, best.gain, best.comparisons, findings.margin_points / 100)
    ending = f"{told}. The default would have been enough."
    return f"{name}: {pairing} = {gap}: {ending}"


def _items(report: Report) -> str:
    rows = report.findings.reproduction.split_rows.get("validation")
    return f"{rows:,}" if rows else "the"


def _gains(report: Report) -> Table:
    findings, metric = report.findings, report.findings.objective
    unit = words.column_unit(metric)
    again = any(max(g.default_seeds or 1, g.best_seeds or 1) > 1 for g in findings.gains)
    means = (
        Column("default, mean over seeds", unit=unit, number=True, pointer="/default_mean"),
        Column("best, mean over seeds", unit=unit, number=True, pointer="/best_mean"),
    )
    note = "Default and best found are of the one training that the search saw. The difference is "
    note += "that of the means over all seeds of both, where they were trained again."
    return Table(
        id="gains",
        caption=f"Default against best found, {words.on_validation(metric)} ({metric.direction})",
        columns=(
            Column("strategy", pointer="/strategy"),
            Column("default", unit=unit, number=True, pointer="/default_value"),
            Column("best found", unit=unit, number=True, pointer="/best_value"),
            Column("best trial", number=True, pointer="/best_trial"),
            *(means if again else ()),
            Column(
                f"{words.minus_of('default', 'best', metric)}{', means' if again else ''}",
                unit=metric.unit,
                number=True,
                pointer="/gain/value",
            ),
            Column("95% CI", unit=metric.unit, number=True),
            Column("best against default", pointer="/outcome"),
        ),
        rows=tuple(
            _gain(gain, f"/findings/gains/{i}", findings, means=again)
            for i, gain in enumerate(findings.gains)
        ),
        note=note if again else "",
    )


def _gain(gain: SearchGain, pointer: str, findings: Findings, *, means: bool) -> Row:
    smallest, metric = findings.margin_points / 100, findings.objective
    same = gain.best_trial is not None and gain.best_trial == gain.default_trial
    told = "the default is the best" if same else words.DASH
    if gain.outcome and gain.gain:
        told = words.outcome(gain.outcome, gain.gain, gain.comparisons, smallest)
    over_seeds = (
        Cell(_mean(gain.default_mean, gain.default_seeds, gain.gain, metric)),
        Cell(_mean(gain.best_mean, gain.best_seeds, gain.gain, metric)),
    )
    return Row(
        cells=(
            strategy_cell(gain.strategy),
            Cell(words.score(gain.default_value, metric, gain.default_interval)),
            Cell(words.score(gain.best_value, metric, gain.best_interval)),
            Cell(words.DASH if gain.best_trial is None else f"#{gain.best_trial}"),
            *(over_seeds if means else ()),
            Cell(words.amount(gain.gain, metric) if gain.gain else words.DASH),
            Cell(interval_text(gain.gain, metric)),
            Cell(told),
        ),
        trial=gain.best_trial,
        pointer=pointer,
    )


def _mean(mean: float | None, seeds: int | None, gain: Interval | None, metric: Metric) -> str:
    """A mean in the digits of the difference, so that the columns add up: ``0.099 (3 seeds)``."""
    if mean is None or seeds is None:
        return words.DASH
    return f"{words.score(mean, metric, gain)} ({words.plural(seeds, 'seed')})"


def _baselines(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns = [
        Column("baseline", pointer="/title"),
        Column("validation loss", unit=findings.loss_unit, number=True, pointer="/validation_loss"),
    ]
    if metric.name != "loss":
        columns.append(Column(f"validation {metric.title}", number=True))
    columns += [
        Column(f"test {metric.title}", unit=words.column_unit(metric), number=True),
        Column("time", unit="s", number=True, pointer="/seconds"),
        Column("note", pointer="/note"),
    ]
    return Table(
        id="baselines",
        caption="Baselines: models to beat, without fine-tuning",
        columns=tuple(columns),
        rows=tuple(
            _baseline(baseline, metric, f"/findings/baselines/{i}")
            for i, baseline in enumerate(findings.baselines)
        ),
    )


def _baseline(baseline: BaselineResult, metric: Metric, pointer: str) -> Row:
    loss = baseline.test_loss if metric.name == "loss" else None
    test = baseline.test_metrics.get(metric.name, loss)
    cells = [Cell(baseline.title), Cell(words.loss(baseline.validation_loss))]
    if metric.name != "loss":
        cells.append(Cell(words.score(baseline.metrics.get(metric.name), metric)))
    cells += [
        Cell(words.score(test, metric)),
        number_cell(baseline.seconds),
        Cell(baseline.note or words.DASH),
    ]
    return Row(tuple(cells), pointer=pointer)
