"""What ran, and what failed? Every trial, and the failures by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Metric
from sweeper.findings.record import TrialRow
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Empty,
    Number,
    Table,
    Text,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import (
    minutes,
    no_trials,
    number_text,
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


@section(90, "trials", "Trials", "What ran?")
def trials_section(report: Report) -> Iterator[Block]:
    """The table of all trials, best first."""
    yield _table(report) if report.findings.trials else no_trials(report)


def _table(report: Report) -> Table:
    findings = report.findings
    metric = findings.metric
    columns: list[Column[TrialRow]] = [
        Number("trial", lambda t: str(t.number), "/number"),
        Column("strategy", lambda t: strategy_cell(t.strategy), "/strategy"),
        Column("state", lambda t: Cell(_WORDS[t.state], css="st-" + _WORDS[t.state]), "/state"),
        Number(
            "validation loss",
            lambda t: words.loss(t.validation_loss),
            "/validation_loss",
            findings.loss_unit,
        ),
    ]
    if metric.name != "loss":
        columns.append(
            Number(
                metric.title,
                lambda t: words.score(t.metrics.get(metric.name), metric),
                f"/metrics/{metric.name}",
            )
        )
    columns += [
        Number(
            "learning rate",
            lambda t: words.value(t.parameters.get("learning_rate")),
            "/parameters/learning_rate",
        ),
        Column("other searched parameters", lambda t: _others(report, t)),
        Number("steps", _steps),
        Number("time", lambda t: minutes(t.seconds), unit=time_name(report)),
        Number("peak", lambda t: number_text(t.peak_memory_gib), "/peak_memory_gib", "GiB"),
        Column("remark", _remark),
    ]
    shown = [state for state in _STATES if any(t.state == state for t in findings.trials)]
    return Table.of(
        "trial-table",
        f"{units.plural(len(findings.trials), 'trial')}, best first",
        columns,
        sorted(
            placed(findings.trials, "/findings/trials"),
            key=lambda place: _order(place[1], findings.objective),
        ),
        trial=lambda t: t.number,
        sortable=True,
        strategies=tuple(dict.fromkeys(words.short(t.strategy) for t in findings.trials)),
        states=tuple(_WORDS[state] for state in shown),
        note=f"Validation figures; trials are compared by {findings.objective.title}, "
        f"{findings.objective.direction}. trials.csv has every parameter.",
    )


def _order(trial: TrialRow, metric: Metric) -> tuple[int, float, int]:
    value = float("inf") if trial.objective is None else metric.worse(trial.objective)
    return (_STATES.index(trial.state), value, trial.number)


def _others(report: Report, trial: TrialRow) -> str:
    fixed = set(trial.parameters) - searched(report, trial.strategy)
    return parameters_text(trial.parameters, "learning_rate", *fixed) or words.DASH


def _steps(trial: TrialRow) -> str:
    return f"{trial.curve[-1].optimizer_steps:,}" if trial.curve else words.DASH


def _remark(trial: TrialRow) -> str:
    told = []
    if trial.origin != "search":
        told.append("default" if trial.origin == "default" else "yours")
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


@section(100, "failures", "Failures", "What failed?")
def failures_section(report: Report) -> Iterator[Block]:
    """Failures by class, with memory needed and available, and the last line of the error."""
    placed_trials = placed(report.findings.trials, "/findings/trials")
    failed = [(at, trial) for at, trial in placed_trials if trial.state == "FAIL"]
    if failed:
        yield Text((_most_common(failed),))
        yield _failures(failed)
    elif report.findings.trials:
        yield Empty("none-failed", "No trial failed.")
    else:
        yield no_trials(report)


def _most_common(failed: list[tuple[str, TrialRow]]) -> str:
    counts = Counter(_kind(trial) for _, trial in failed)
    kind, count = min(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    told = f"{count} of {units.plural(len(failed), 'failure')}: {words.failure(kind)}."
    return f"{told} What usually helps: {_REMEDIES[kind]}." if kind in _REMEDIES else told


def _kind(trial: TrialRow) -> str:
    return trial.failure.kind if trial.failure else "error"


def _failures(failed: list[tuple[str, TrialRow]]) -> Table:
    columns: list[Column[TrialRow]] = [
        Column("class", lambda t: words.failure(_kind(t)), "/failure/kind"),
        Number("trial", lambda t: str(t.number), "/number"),
        Column("strategy", lambda t: strategy_cell(t.strategy), "/strategy"),
        Number(
            "needed",
            lambda t: units.number(t.failure.needed_gib if t.failure else None),
            "/failure/needed_gib",
            "GiB",
        ),
        Number(
            "had",
            lambda t: units.number(t.failure.had_gib if t.failure else None),
            "/failure/had_gib",
            "GiB",
        ),
        Column(
            "last line of the error",
            lambda t: t.failure.detail if t.failure else words.DASH,
            "/failure/detail",
        ),
        Column("what usually helps", lambda t: _REMEDIES.get(_kind(t), words.DASH)),
    ]
    ordered = sorted(failed, key=lambda place: (_kind(place[1]), place[1].number))
    return Table.of(
        "failure-table", "Failures by class", columns, ordered, trial=lambda t: t.number
    )
