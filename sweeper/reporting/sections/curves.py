"""Did training behave? Curves, and the time that pruning saved."""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.findings.record import CurvePoint, TrialRow
from sweeper.reporting.blocks import (
    Block,
    Column,
    Figure,
    LegendEntry,
    Number,
    Section,
    Table,
    Text,
    placed,
)
from sweeper.reporting.charts.curves import curve_scale, curves, drawn_trials
from sweeper.reporting.charts.draw import legend
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import drawn, no_trials, strategy_cell

# So many trials that stopped are named; the table of trials has all.
_NAMED = 6


@section(40)
def curves_section(report: Report) -> Section:
    """Learning curves with the pruned and the failed ones."""
    findings = report.findings
    finding = _finding(report)
    panels = drawn(curves(findings, finding))
    blocks: list[Block] = []
    if panels:
        names = dict.fromkeys(t.strategy for t in findings.trials if t.curve)
        ends = (
            LegendEntry("pruned", "", "┆"),
            LegendEntry("failed", "", "✕"),
            LegendEntry("training loss of the best (dotted)", "", "┈"),
        )
        blocks.append(
            Figure(
                id="learning-curves",
                finding=finding,
                note=_note(report),
                panels=panels,
                legend=legend(list(names), *ends),
                table=_table(report),
            )
        )
    else:
        blocks.append(no_trials(report))
    if told := (*_pruning(report), *_stopped(report)):
        blocks.append(Text(told))
    return Section("curves", "Curves", "Did training behave?", tuple(blocks))


def _finding(report: Report) -> str:
    findings = report.findings
    best = {s.best_trial for s in findings.strategies if s.best_trial is not None}
    rows = [t for t in findings.trials if t.number in best and t.curve]
    rising = [t for t in rows if _overfits(t)]
    diverged = [t for t in findings.trials if t.failure and t.failure.kind == "diverged"]
    if rising:
        told = words.joined([f"trial {t.number} after rung {t.best_rung}" for t in rising])
        return f"Validation loss rose again before the end: {told}."
    if diverged and rows:
        return (
            f"{words.plural(len(diverged), 'trial')} diverged; the best of each strategy did not."
        )
    if rows:
        return "The best trial of each strategy had its lowest validation loss at its last rung."
    if findings.run.ended and findings.run.failed == findings.run.ended:
        return "No trial completed: these are the curves until each of them failed."
    return "No trial has completed yet. The chart shows the curves so far."


def _overfits(trial: TrialRow) -> bool:
    return trial.best_rung is not None and trial.best_rung < trial.curve[-1].rung


def _note(report: Report) -> str:
    total = [t for t in report.findings.trials if t.curve]
    shown = drawn_trials(report.findings)
    text = (
        "Thick: the best of each strategy, its training loss dotted. Dashed: pruned, ending in a "
    )
    text += "tick. An x: the loss was no longer finite."
    items, rows = report.findings.run.rung_items, report.findings.reproduction.split_rows
    if items and items < rows.get("validation", 0):
        text += (
            f" Rungs before the last score {items:,} of {rows['validation']:,} validation items,"
        )
        text += " the same ones in every trial."
    text += _off_range(report)
    if len(shown) < len(total):
        text += f" Drawn are {len(shown):,} of {len(total):,} curves: the best and a sample of each"
        text += " strategy; curves.csv has them all."
    return text


def _off_range(report: Report) -> str:
    """What of the curves lies off the drawn range."""
    scale, shown = curve_scale(report.findings), drawn_trials(report.findings)
    if scale is None:
        return ""
    losses = [[p.validation_loss for p in t.curve if p.validation_loss is not None] for t in shown]
    cut = sum(any(loss > scale.high for loss in found) for found in losses)
    train = [p.train_loss for t in shown for p in t.curve if p.train_loss is not None]
    text = ""
    if cut:
        text += f" {words.plural(cut, 'curve leaves', 'curves leave')} the drawn range at its top;"
        text += " an arrow marks those that end there."
    if any(not scale.low <= loss <= scale.high for loss in train):
        text += " Training losses outside the range of the validation losses are not drawn."
    return text


def _table(report: Report) -> Table:
    """The curves of the best trials; the rest is in curves.csv."""
    unit = report.findings.loss_unit
    best = {s.best_trial for s in report.findings.strategies if s.best_trial is not None}
    columns: list[Column[tuple[TrialRow, CurvePoint]]] = [
        Number("trial", lambda row: f"#{row[0].number}"),
        Column("strategy", lambda row: strategy_cell(row[0].strategy)),
        Number("rung", lambda row: str(row[1].rung), "/rung"),
        Number("optimizer steps", lambda row: f"{row[1].optimizer_steps:,}", "/optimizer_steps"),
        Number("tokens", lambda row: f"{row[1].tokens:,}", "/tokens"),
        Number(
            "validation loss",
            lambda row: words.loss(row[1].validation_loss),
            "/validation_loss",
            unit,
        ),
        Number("training loss", lambda row: words.loss(row[1].train_loss), "/train_loss", unit),
    ]
    rows = [
        (pointer, (trial, point))
        for at, trial in placed(report.findings.trials, "/findings/trials")
        if trial.number in best
        for pointer, point in placed(trial.curve, f"{at}/curve")
    ]
    caption = "The curves of the best trials (all of them: curves.csv)"
    return Table.of("curve-points", caption, columns, rows, trial=lambda row: row[0].number)


def _pruning(report: Report) -> tuple[str, ...]:
    run = report.findings.run
    if run.ended and not run.pruned:
        return ("No trial was pruned.",)
    if not run.pruned:
        return ()
    by_it, metric = report.plan.objective.at_rungs, report.findings.objective
    title = words.on_validation(metric) if by_it else "validation loss"
    told = [f"{words.plural(run.pruned, 'trial')} pruned on {title}"]
    if run.median_prune_step is not None:
        which = "at" if run.pruned == 1 else "half of them by"
        told.append(f"{which} optimizer step {run.median_prune_step:,}")
    if run.saved_seconds is not None:
        told.append(f"which saved {units.duration(run.saved_seconds)} of training")
    return (", ".join(told) + ".", "Pruned trials have no final score.")


def _stopped(report: Report) -> tuple[str, ...]:
    """Trials that a guard of their own ended; why stands in the table of trials."""
    stopped = [t for t in report.findings.trials if t.stopped_at_rung is not None]
    if not stopped:
        return ()
    named = words.joined([f"#{t.number} at rung {t.stopped_at_rung}" for t in stopped[:_NAMED]])
    rest = f", and {len(stopped) - _NAMED} more" if len(stopped) > _NAMED else ""
    return (
        f"{words.plural(len(stopped), 'trial')} stopped before the end of the budget and kept "
        f"the best weights until then: {named}{rest}.",
    )
