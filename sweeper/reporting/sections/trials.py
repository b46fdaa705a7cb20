"""What ran, and what failed? Every trial, and the failures by class."""

from __future__ import annotations

from collections import Counter

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Metric
from sweeper.findings.record import TrialRow
from sweeper.findings.verdict.limitations import LOST_SHARE
from sweeper.reporting.blocks import Block, Bullets, Cell, Column, Empty, Row, Section, Table
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import (
    no_trials,
    number_cell,
    parameters_text,
    searched,
    strategy_cell,
    time_name,
)

_STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
_WORDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "interrupted",
}
# What usually helps, by kind of failure.
_REMEDIES = {
    "out-of-memory": "a smaller micro-batch, gradient checkpointing, or a strategy with less state",
    "diverged": "a lower learning rate, or a longer warmup",
    "timeout": "a longer timeout, or fewer epochs",
    "crash": "the worker's log in the run folder says where it ended",
    "error": "the trainer's log in the trial's folder has the traceback",
    "refused": "the configuration is not possible; the message says why",
    "disk-full": "free disk space, then run the same command again",
}


@section(90)
def trials_section(report: Report) -> Section:
    """The table of all trials, best first."""
    findings = report.findings
    block: Block = _table(report) if findings.trials else no_trials(report)
    return Section("trials", "Trials", "What ran?", (block,))


def _table(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns = [
        Column("trial", number=True, pointer="/number"),
        Column("strategy", pointer="/strategy"),
        Column("state", pointer="/state"),
        Column("validation loss", unit=findings.loss_unit, number=True, pointer="/validation_loss"),
    ]
    if metric.name != "loss":
        columns.append(Column(metric.title, number=True, pointer=f"/metrics/{metric.name}"))
    columns += [
        Column("learning rate", number=True, pointer="/parameters/learning_rate"),
        Column("other searched parameters"),
        Column("steps", number=True),
        Column("time", unit=time_name(report), number=True),
        Column("peak", unit="GiB", number=True, pointer="/peak_memory_gib"),
        Column("remark"),
    ]
    ordered = sorted(
        enumerate(findings.trials), key=lambda entry: _order(entry[1], findings.objective)
    )
    shown = [state for state in _STATES if any(t.state == state for t in findings.trials)]
    return Table(
        id="trial-table",
        caption=f"{words.plural(len(findings.trials), 'trial')}, best first",
        columns=tuple(columns),
        rows=tuple(_row(report, trial, f"/findings/trials/{i}") for i, trial in ordered),
        sortable=True,
        strategies=tuple(dict.fromkeys(words.short(t.strategy) for t in findings.trials)),
        states=tuple(_WORDS[state] for state in shown),
        note=f"Validation figures; trials are compared by {findings.objective.title}, "
        f"{findings.objective.direction}. trials.csv has every parameter.",
    )


def _order(trial: TrialRow, metric: Metric) -> tuple[int, float, int]:
    value = float("inf") if trial.objective is None else metric.worse(trial.objective)
    return (_STATES.index(trial.state), value, trial.number)


def _row(report: Report, trial: TrialRow, pointer: str) -> Row:
    metric = report.findings.metric
    rate = trial.parameters.get("learning_rate")
    fixed = set(trial.parameters) - searched(report, trial.strategy)
    others = parameters_text(trial.parameters, "learning_rate", *fixed)
    cells = [
        Cell(str(trial.number)),
        strategy_cell(trial.strategy),
        Cell(_WORDS[trial.state], css="st-" + _WORDS[trial.state]),
        Cell(words.loss(trial.validation_loss)),
    ]
    if metric.name != "loss":
        cells.append(Cell(words.score(trial.metrics.get(metric.name), metric)))
    steps = f"{trial.curve[-1].optimizer_steps:,}" if trial.curve else words.DASH
    cells += [
        Cell(words.DASH if rate is None else words.value(rate)),
        Cell(others or words.DASH),
        Cell(steps),
        number_cell(None if trial.seconds is None else trial.seconds / 60),
        number_cell(trial.peak_memory_gib),
        Cell(_remark(trial)),
    ]
    return Row(
        cells=tuple(cells),
        trial=trial.number,
        pointer=pointer,
    )


def _remark(trial: TrialRow) -> str:
    told = []
    if trial.origin != "search":
        marks = {"default": "default", "rule-test": f"tests the rule {trial.tests_rule}"}
        told.append(marks.get(trial.origin, "yours"))
    if trial.loss_note:
        told.append(trial.loss_note)
    if trial.stopped_at_rung is not None:
        kept = f", kept rung {trial.best_rung}" if trial.best_rung else ""
        told.append(f"stopped at rung {trial.stopped_at_rung}{kept}: {trial.stopped_because}")
    if trial.first_stage is not None:
        ran = "read" if trial.first_stage.ran_here else "on a base trained on"
        told.append(f"{ran} {trial.first_stage.tokens:,} tokens of the corpus")
    if trial.attempts > 1:
        told.append(f"attempt {trial.attempts}")
    return "; ".join(told)


@section(100)
def failures_section(report: Report) -> Section:
    """Failures by class, with memory needed and available, and the last line of the error."""
    failed = [(i, t) for i, t in enumerate(report.findings.trials) if t.state == "FAIL"]
    blocks: list[Block] = []
    if failed:
        blocks += [Bullets((_most_common(failed), *_lost(report))), _failures(failed)]
    elif report.findings.trials:
        blocks.append(Empty("none-failed", "No trial failed."))
    else:
        blocks.append(no_trials(report))
    return Section("failures", "Failures", "What failed?", tuple(blocks))


def _most_common(failed: list[tuple[int, TrialRow]]) -> str:
    counts = Counter(_kind(trial) for _, trial in failed)
    kind, count = min(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    told = f"{count} of {words.plural(len(failed), 'failure')}: {words.failure(kind)}."
    return f"{told} What usually helps: {_REMEDIES[kind]}." if kind in _REMEDIES else told


def _kind(trial: TrialRow) -> str:
    return trial.failure.kind if trial.failure else "error"


def _lost(report: Report) -> tuple[str, ...]:
    told = []
    for summary in report.findings.strategies:
        count = summary.complete + summary.pruned + summary.failed
        if count and summary.failed > LOST_SHARE * count:
            name = words.short(summary.strategy)
            told.append(
                f"Warning: {summary.failed} of {words.plural(count, 'trial')} of {name} failed; "
                "the others may not be typical."
            )
    return tuple(told)


def _failures(failed: list[tuple[int, TrialRow]]) -> Table:
    return Table(
        id="failure-table",
        caption="Failures by class",
        columns=(
            Column("class", pointer="/failure/kind"),
            Column("trial", number=True, pointer="/number"),
            Column("strategy", pointer="/strategy"),
            Column("needed", unit="GiB", number=True, pointer="/failure/needed_gib"),
            Column("had", unit="GiB", number=True, pointer="/failure/had_gib"),
            Column("last line of the error", pointer="/failure/detail"),
            Column("what usually helps"),
        ),
        rows=tuple(
            _failure(trial, f"/findings/trials/{i}")
            for i, trial in sorted(failed, key=lambda entry: (_kind(entry[1]), entry[0]))
        ),
    )


def _failure(trial: TrialRow, pointer: str) -> Row:
    failure = trial.failure
    kind = _kind(trial)
    return Row(
        cells=(
            Cell(words.failure(kind)),
            Cell(str(trial.number)),
            strategy_cell(trial.strategy),
            Cell(units.number(failure.needed_gib if failure else None)),
            Cell(units.number(failure.had_gib if failure else None)),
            Cell(failure.detail if failure else words.DASH),
            Cell(_REMEDIES.get(kind, words.DASH)),
        ),
        trial=trial.number,
        pointer=pointer,
    )
