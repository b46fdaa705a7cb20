"""The section on continued pretraining on a corpus, which is the *first stage* of some trials."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading, record_of
from sweeper.features.pretraining._facts import NAME, StageRecord
from sweeper.findings import words
from sweeper.findings.findings import Findings
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.document import Report

HEADING = Heading(92, "pretraining", "Continued pretraining")


class FirstStageFigures(StageRecord):
    """One first stage: the continued pretraining of a base, and the trials that used the result.

    ``base`` is the folder of the resulting base.
    """

    base: str
    trials: tuple[int, ...]


class Figures(Record):
    """The first stages of a study."""

    stages: tuple[FirstStageFigures, ...]


def compute(run: RunFiles, findings: Findings) -> Figures | None:
    """Each first stage that trials used; None if there is none."""
    stages: dict[str, FirstStageFigures] = {}
    for row in findings.trials:
        record = record_of(row.result.features, NAME, StageRecord)
        if record is None or row.result.base is None:
            continue
        trials = stages[row.result.base.folder].trials if row.result.base.folder in stages else ()
        stages[row.result.base.folder] = FirstStageFigures.taken_from(
            record, base=row.result.base.folder, trials=(*trials, row.number)
        )
    return Figures(stages=tuple(stages.values())) if stages else None


def finding(figures: Figures, report: Report) -> str:
    """For each first stage: documents, tokens, time, and the loss on held-out documents."""
    return " ".join(
        f"Before {units.joined([f'trial {number}' for number in stage.trials])}, {_text_of(stage)}."
        for stage in figures.stages
    )


def card(figures: Figures, findings: Findings) -> Iterator[str]:
    """For the model card: the corpus on which the base of the best trial was trained."""
    for stage in figures.stages:
        if findings.verdict.best_trial in stage.trials:
            yield f"Before the task, {_text_of(stage)}."


def _text_of(stage: FirstStageFigures) -> str:
    text = (
        f"the base was trained with {words.strategy(stage.strategy)} on {stage.documents:,} "
        f"documents of the corpus ({stage.tokens:,} tokens) in {units.duration(stage.seconds)}"
    )
    before, after = stage.held_out_loss_before, stage.held_out_loss_after
    if before is None or after is None:
        return text
    return (
        f"{text}; its loss on held-out documents went from {words.number(before)} to "
        f"{words.number(after)} nats/token"
    )
