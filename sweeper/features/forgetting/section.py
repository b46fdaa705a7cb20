"""What the model lost on general text, and the user's limit."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.evaluation.task_scores import Unit
from sweeper.features.forgetting._figures import (
    Figures,
    TrialForgetting,
    forgetting,
)
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.trained_changes import amount, interval_text
from sweeper.reporting.blocks import (
    Block,
    Column,
    Number,
    Table,
    with_pointers,
)
from sweeper.reporting.document import Report
from sweeper.reporting.parts import strategy_cell

_MAX_TRIALS_LISTED = 20
_LOSS_UNIT: Unit = "nats/token"


HEADING = Heading(90, "forgetting", "Forgetting")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """What was lost on general text, and the best trial against the user's limit."""
    return forgetting(run, findings.verdict)


def because(figures: Figures, findings: Findings) -> list[str]:
    """The best trial against the user's limit."""
    return list(filter(None, [figures.limit_sentence]))


def finding(figures: Figures, report: Report) -> str:
    """The best trials on general text and on the task; empty if only tasks were scored."""
    return _front_finding(figures) if figures.trials else ""


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """What each trial lost on general text; the cost chart draws it."""
    yield _trial_table(report, figures)


def _front_finding(figures: Figures) -> str:
    by_number = {trial.trial: trial for trial in figures.trials}
    front = [by_number[number] for number in figures.front]
    if len(front) == 1:
        return f"Trial {front[0].trial} has the lowest loss on the task and on general text."
    first, last = front[0], front[-1]
    note = f" {units.plural(len(front) - 2, 'trial')} between them." if len(front) > 2 else ""
    return (
        f"On general text, trial {first.trial} is best ({_change(first)}). On the task, trial "
        f"{last.trial} is best ({_change(last)} on general text).{note}"
    )


def _change(trial: TrialForgetting) -> str:
    value = trial.forgetting.value
    return f"{amount(abs(value), _LOSS_UNIT)} nats/token {'gained' if value < 0 else 'lost'}"


def _trial_table(report: Report, figures: Figures) -> Table:
    columns: list[Column[TrialForgetting]] = [
        Number("trial", lambda t: f"#{t.trial}"),
        Column("strategy", lambda t: strategy_cell(t.strategy)),
        Number("validation loss", lambda t: words.loss(t.task_loss), "", report.findings.loss_unit),
        Number("general text, base", lambda t: words.loss(t.general_loss_base), "", _LOSS_UNIT),
        Number("general text, tuned", lambda t: words.loss(t.general_loss), "", _LOSS_UNIT),
        Number("lost", lambda t: amount(t.forgetting.value, _LOSS_UNIT), "", _LOSS_UNIT),
        Number("95% CI", lambda t: interval_text(t.forgetting, _LOSS_UNIT), "", _LOSS_UNIT),
        Column("front", lambda t: "yes" if t.trial in figures.front else ""),
    ]
    ordered = sorted(
        with_pointers(figures.trials, "/sections/forgetting/trials"),
        key=lambda row: (row[1].trial not in figures.front, row[1].task_loss, row[1].trial),
    )
    return Table.of(
        "forgetting-trials",
        "Loss on the task and on general text, the front first",
        columns,
        ordered[:_MAX_TRIALS_LISTED],
        trial=lambda t: t.trial,
        note=f"The first {_MAX_TRIALS_LISTED} of {len(ordered)}."
        if len(ordered) > _MAX_TRIALS_LISTED
        else "",
    )
