"""Did the search beat the default, and what do baselines reach?"""

from __future__ import annotations

from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.record import SearchGain
from sweeper.reporting.blocks import Block, Column, Figure, Number, Section, Table, placed
from sweeper.reporting.charts.draw import legend
from sweeper.reporting.charts.search import progress, progress_scale, reference_rules, slope
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import (
    drawn,
    interval_text,
    nothing_to_compare,
    number_text,
    off_scale,
    strategy_cell,
    trial_number,
)
from sweeper.trials import BaselineResult


@section(20)
def search_section(report: Report) -> Section:
    """Default against best, best so far, baselines."""
    findings = report.findings
    blocks: list[Block] = [nothing_to_compare(report) or _figure(report)]
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
            score = words.on_validation(findings.objective)
            return f"{name} has the best {score}, and none of its trials beat its default."
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
    columns: list[Column[SearchGain]] = [
        Column("strategy", lambda g: strategy_cell(g.strategy), "/strategy"),
        Number(
            "default",
            lambda g: words.score(g.default_value, metric, g.default_interval),
            "/default_value",
            unit,
        ),
        Number(
            "best found",
            lambda g: words.score(g.best_value, metric, g.best_interval),
            "/best_value",
            unit,
        ),
        Number("best trial", lambda g: trial_number(g.best_trial), "/best_trial"),
    ]
    if again:
        columns += [
            Number(
                "default, mean over seeds",
                lambda g: _mean(g.default_mean, g.default_seeds, g.gain, metric),
                "/default_mean",
                unit,
            ),
            Number(
                "best, mean over seeds",
                lambda g: _mean(g.best_mean, g.best_seeds, g.gain, metric),
                "/best_mean",
                unit,
            ),
        ]
    columns += [
        Number(
            f"{words.minus_of('default', 'best', metric)}{', means' if again else ''}",
            lambda g: words.amount(g.gain, metric) if g.gain else words.DASH,
            "/gain/value",
            metric.unit,
        ),
        Number("95% CI", lambda g: interval_text(g.gain, metric), "", metric.unit),
        Column("best against default", lambda g: _outcome(g, findings.margin_points), "/outcome"),
    ]
    note = "The columns default and best found show one training each, that of the search. If "
    note += "either was trained again, the difference is that of the means over all seeds of both."
    return Table.of(
        "gains",
        f"Default against best found, {words.on_validation(metric)} ({metric.direction})",
        columns,
        placed(findings.gains, "/findings/gains"),
        trial=lambda g: g.best_trial,
        note=note if again else "",
    )


def _outcome(gain: SearchGain, margin_points: float) -> str:
    if gain.outcome and gain.gain:
        return words.outcome(gain.outcome, gain.gain, gain.comparisons, margin_points / 100)
    same = gain.best_trial is not None and gain.best_trial == gain.default_trial
    return "the default is the best" if same else words.DASH


def _mean(mean: float | None, seeds: int | None, gain: Interval | None, metric: Metric) -> str:
    """A mean in the digits of the difference, so that the columns add up: ``0.099 (3 seeds)``."""
    if mean is None or seeds is None:
        return words.DASH
    return f"{words.score(mean, metric, gain)} ({words.plural(seeds, 'seed')})"


def _baselines(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns: list[Column[BaselineResult]] = [
        Column("baseline", lambda b: b.title, "/title"),
        Number(
            "validation loss",
            lambda b: words.loss(b.validation_loss),
            "/validation_loss",
            findings.loss_unit,
        ),
    ]
    if metric.name != "loss":
        title = f"validation {metric.title}"
        columns.append(Number(title, lambda b: words.score(b.metrics.get(metric.name), metric)))
    columns += [
        Number(
            f"test {metric.title}",
            lambda b: words.score(_test_figure(b, metric), metric),
            unit=words.column_unit(metric),
        ),
        Number("time", lambda b: number_text(b.seconds), "/seconds", "s"),
        Column("note", lambda b: b.note or words.DASH, "/note"),
    ]
    caption = "Baselines: models to beat, without fine-tuning"
    return Table.of(
        "baselines", caption, columns, placed(findings.baselines, "/findings/baselines")
    )


def _test_figure(baseline: BaselineResult, metric: Metric) -> float | None:
    loss = baseline.test_loss if metric.name == "loss" else None
    return baseline.test_metrics.get(metric.name, loss)
