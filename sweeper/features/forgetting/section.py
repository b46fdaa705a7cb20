"""What did the model lose? The loss on general text, and the user's limit."""

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

_MOST_TRIALS = 20
# Of losses on general text.
_UNIT: Unit = "nats/token"


HEADING = Heading(90, "forgetting", "Forgetting")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """What was lost on general text, and the best trial against the user's limit."""
    return forgetting(run, findings.verdict)


def because(figures: Figures, findings: Findings) -> list[str]:
    """The best trial against the user's limit."""
    return list(filter(None, [figures.limit_sentence]))


def finding(figures: Figures, report: Report) -> str:
    """What general text costs; nothing if only tasks were scored."""
    return _front_finding(figures) if figures.trials else ""


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """What each trial lost on general text; the cost chart draws it."""
    yield _trial_table(report, figures)


def _front_finding(measured: Figures) -> str:
    by_number = {trial.trial: trial for trial in measured.trials}
    front = [by_number[number] for number in measured.front]
    if len(front) == 1:
        return f"Trial {front[0].trial} has the lowest loss on the task and on general text."
    first, last = front[0], front[-1]
    between = f" {units.plural(len(front) - 2, 'trial')} between them." if len(front) > 2 else ""
    return (
        f"On general text, trial {first.trial} is best ({_change(first)}). On the task, trial "
        f"{last.trial} is best ({_change(last)} on general text).{between}"
    )


def _change(trial: TrialForgetting) -> str:
    value = trial.forgetting.value
    return f"{amount(abs(value), _UNIT)} nats/token {'gained' if value < 0 else 'lost'}"


def _trial_table(report: Report, measured: Figures) -> Table:
    columns: list[Column[TrialForgetting]] = [
        Number("trial", lambda t: f"#{t.trial}"),
        Column("strategy", lambda t: strategy_cell(t.strategy)),
        Number("validation loss", lambda t: words.loss(t.task_loss), "", report.findings.loss_unit),
        Number("general text, base", lambda t: words.loss(t.general_loss_base), "", _UNIT),
        Number("general text, tuned", lambda t: words.loss(t.general_loss), "", _UNIT),
        Number("lost", lambda t: amount(t.forgetting.value, _UNIT), "", _UNIT),
        Number("95% CI", lambda t: interval_text(t.forgetting, _UNIT), "", _UNIT),
        Column("front", lambda t: "yes" if t.trial in measured.front else ""),
    ]
    ordered = sorted(
        with_pointers(measured.trials, "/sections/forgetting/trials"),
        key=lambda row: (row[1].trial not in measured.front, row[1].task_loss, row[1].trial),
    )
    return Table.of(
        "forgetting-trials",
        "Loss on the task and on general text, the front first",
        columns,
        ordered[:_MOST_TRIALS],
        trial=lambda t: t.trial,
        note=f"The first {_MOST_TRIALS} of {len(ordered)}." if len(ordered) > _MOST_TRIALS else "",
    )
