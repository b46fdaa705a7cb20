"""The report's section on the share of augmented rows that trials trained on."""

from __future__ import annotations

from pydantic import Field

from sweeper.artifact import Record
from sweeper.features.augmentation.facts import AUGMENTED_ROWS, is_augmented
from sweeper.features.parts import Heading
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.strategy_figures import off_pairs
from sweeper.reporting.document import Report

HEADING = Heading(74, "augmentation", "Augmented rows")


class AugmentedShare(Record):
    """The number of rows that one trial trained on, repetitions included."""

    trial: int
    augmented_rows: int
    rows: int = Field(description="all rows, augmented ones included")


class Figures(Record):
    """The trials with augmented rows that are compared with trials without."""

    trials: tuple[AugmentedShare, ...]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """For each strategy with trials with and without augmented rows: one trial with them."""
    shares = []
    for _without, trial in off_pairs(run, AUGMENTED_ROWS):
        rows_by_source = trial.result.seen if trial.result else {}
        augmented = sum(
            part.rows for source, part in rows_by_source.items() if is_augmented(source)
        )
        rows = sum(part.rows for part in rows_by_source.values())
        shares.append(
            AugmentedShare(trial=trial.config.number, augmented_rows=augmented, rows=rows)
        )
    return Figures(trials=tuple(shares)) if shares else None


def finding(figures: Figures, report: Report) -> str:
    """A sentence on the augmented rows of each trial."""
    return " ".join(
        f"{share.augmented_rows:,} of the {share.rows:,} rows that trial {share.trial} trained on "
        "were augmented ones."
        for share in figures.trials
    )
