"""What failed? Failed trials by kind of failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.reporting.blocks import Block, Column, Number, Table, strategy_cell, with_json_pointers
from sweeper.reporting.document import Report
from sweeper.trials import Trial

HEADING = Heading(120, "failures", "Failures")

# Kind of failure to what usually helps.
_REMEDIES = {
    "out-of-memory": "a smaller micro-batch, gradient checkpointing, or a strategy with less state",
    "diverged": "a lower learning rate, or a longer warmup",
    "timeout": "a longer timeout, or fewer epochs",
    "crash": "the end of the worker's log in the run folder",
    "error": "the traceback in the trainer's log in the trial's folder",
    "refused": "another configuration; the message says why this one is not possible",
    "disk-full": "more free disk space, then the same command again",
}


def finding(figures: None, report: Report) -> str:
    """The most common failure, and what usually helps."""
    failed_trials = [trial for trial in report.findings.trials if trial.result.state == "FAIL"]
    counts = Counter(map(_kind, failed_trials))
    if not counts:
        return ""
    kind, count = min(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    text = f"{count} of {units.plural(len(failed_trials), 'failure')}: {words.failure(kind)}."
    return f"{text} What usually helps: {_REMEDIES[kind]}." if kind in _REMEDIES else text


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """A table of failed trials, with needed and available memory and the last line of the error."""
    trials = with_json_pointers(report.findings.trials, "/findings/trials")
    failed_trials = [(pointer, trial) for pointer, trial in trials if trial.result.state == "FAIL"]
    columns: list[Column[Trial]] = [
        Column("kind", lambda t: words.failure(_kind(t)), "/result/failure/kind"),
        Number.of("trial", "/config/number"),
        Column.of("strategy", "/config/strategy", strategy_cell),
        Number.of("needed", "/result/failure/needed_gib", units.number, "GiB"),
        Number.of("available", "/result/failure/had_gib", units.number, "GiB"),
        Column.of("last line of the error", "/result/failure/detail"),
        Column("what usually helps", lambda t: _REMEDIES.get(_kind(t), words.DASH)),
    ]
    sorted_trials = sorted(failed_trials, key=lambda entry: (_kind(entry[1]), entry[1].number))
    yield Table.of(
        "failure-table", "Failures by kind", columns, sorted_trials, trial=lambda t: t.number
    )


def _kind(trial: Trial) -> str:
    return trial.result.failure.kind if trial.result.failure else "error"
