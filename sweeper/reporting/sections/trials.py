"""What ran? Every trial."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import Metric
from sweeper.findings.record import TrialRow
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Number,
    Table,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.reporting.parts import (
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


HEADING = Heading(90, "trials", "Trials", "What ran?")


def blocks(figures: None, report: Report) -> Iterator[Block]:
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
    if trial.base is not None:
        told.append(
            f"{'made and trained on' if trial.preparing_seconds else 'trained on'} "
            f"{trial.base.folder}"
        )
    if trial.attempts > 1:
        told.append(f"attempt {trial.attempts}")
    return "; ".join(told)
