"""What do outputs look like? Test items with the answers of base, default and winner."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sweeper import units
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import Findings
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import (
    Block,
    Column,
    NamedFact,
    Number,
    Sample,
    Samples,
    Table,
    Text,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.reporting.sections._outputs import Figures, OutputGroup, ShownItem, outputs
from sweeper.visible import shortened

_TITLES = {
    "improved": "Most improved: the loss fell most from the base to the winner",
    "worsened": "Most worsened: the loss rose most from the base to the winner",
    "random": "A random sample of the test rows",
    "suspect": "Probable label errors: every training of the winner is sure of another class",
    "confident": "Most confident errors of the winner",
}
# Characters of an input in a table; a class is told apart by less text than an answer.
_IN_TABLE = 400


HEADING = Heading(75, "samples", "Samples", "What do outputs look like?")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """The items that are shown, with the answers to them."""
    return outputs(run)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """Inputs and answers side by side."""
    yield Text(_said(report, figures))
    for place, group in enumerate(figures.groups):
        if figures.written:
            items = tuple(_sample(figures, item) for item in group.items)
            yield Samples(_title(group), items)
        else:
            yield _table(figures, group, f"/sections/samples/groups/{place}")


def _said(report: Report, found: Figures) -> tuple[str, ...]:
    models = [f"{model.role}: {model.title}" for model in found.models]
    told = ["This part contains rows of the test split.", f"Compared are {units.joined(models)}."]
    if found.written:
        told.append(
            f"Items are ordered by the loss of the reference answer ({report.findings.loss_unit}), "
            "not by how answers read; answers were written greedily by one training of each model."
        )
        return tuple(told)
    told.append("A percentage is the probability of the predicted class.")
    suspects = next((group.of for group in found.groups if group.kind == "suspect"), 0)
    if suspects:
        told.append(
            f"{units.plural(suspects, 'test row')} may have a wrong class (see probable label "
            "errors). Read such rows before you trust a difference between models: a wrong class "
            "makes a right answer an error."
        )
    return tuple(told)


def _title(group: OutputGroup) -> str:
    return f"{_TITLES[group.kind]} ({len(group.items)} of {group.of:,})"


def _sample(found: Figures, item: ShownItem) -> Sample:
    both = zip(found.models, item.answers, strict=True)
    wrote = [(model.role, answer) for model, answer in both if answer is not None]
    losses = [f"{role} {words.loss(answer.loss)}" for role, answer in wrote]
    return Sample(
        f"Row {item.line}; loss of the reference: {', '.join(losses)}",
        (
            NamedFact("input", item.asked, css="wide"),
            NamedFact("reference", item.reference),
            *(NamedFact(role, answer.text or words.DASH) for role, answer in wrote),
        ),
    )


def _table(found: Figures, group: OutputGroup, pointer: str) -> Table:
    columns: list[Column[ShownItem]] = [
        Number("row", lambda item: str(item.line), "/line"),
        Column("input", lambda item: shortened(item.asked, _IN_TABLE), "/asked"),
        Column("class in the data", lambda item: item.reference, "/reference"),
    ]
    columns += [
        Column(f"{model.role}: {model.title}", partial(_answer, place))
        for place, model in enumerate(found.models)
    ]
    return Table.of(
        f"samples-{group.kind}",
        _TITLES[group.kind],
        columns,
        placed(group.items, f"{pointer}/items"),
        folded=_title(group),
    )


def _answer(place: int, item: ShownItem) -> str:
    answer = item.answers[place]
    if answer is None:
        return words.DASH
    sure = "" if answer.confidence is None else f" {100 * answer.confidence:.0f}%"
    return f"{answer.text}{sure}"
