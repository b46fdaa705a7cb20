"""What do outputs look like? Test items with the answers of base, default and winner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.record import Findings
from sweeper.findings.study.item_scores import entries, scored_items
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.compared_models import ComparedModel, compared_models, kept_texts
from sweeper.findings.verdict.suspected_labels import suspected
from sweeper.redaction import clean
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
from sweeper.trials import ItemText, TestScore
from sweeper.visible import LABEL_CHARACTERS, shortened

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


# Items of one kind: what a reader looks through. Suspects are work to be done, so there are more.
_SHOWN, _SUSPECTS = 4, 12
# Nats: a probability of the reference that differs by a twentieth has not changed to a reader.
_SEEN = 0.05

GroupKind = Literal["improved", "worsened", "random", "suspect", "confident"]


class ShownAnswer(Record):
    """One model's answer to one item: what it wrote, or the class that it predicted."""

    text: str
    loss: float
    confidence: float | None = Field(None, description="probability of the predicted class")


class ShownItem(Record):
    """One test item with its answers, in the order of the models; None where one wrote none."""

    item: int = Field(description="place in the test split, from 0")
    line: int = Field(description="in its source file, from 1")
    asked: str
    reference: str
    answers: tuple[ShownAnswer | None, ...]


class OutputGroup(Record):
    """Items that were chosen for one reason; ``of`` says how many there are of the kind."""

    kind: GroupKind
    items: tuple[ShownItem, ...]
    of: int


class Figures(Record):
    """Test items with the answers of the models that the verdict compares."""

    models: tuple[ComparedModel, ...]
    groups: tuple[OutputGroup, ...]
    written: bool = Field(description="answers are texts; else they are classes")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """Items with the answers of the models that the verdict speaks of.

    They are chosen by the change of their loss from the base to the winner. For classes come the
    winner's most confident errors, and the items whose class is probably wrong in the data.
    """
    scored, models = entries(run), compared_models(run)
    chosen = next((model.name for model in models if model.role == "winner"), None)
    if not run.texts:
        return NotMeasured(reason="Texts of rows and answers were left out of this report.")
    if chosen is None:
        return NotMeasured(reason="Answers are shown once the test split has been scored.")
    found = [scored[model.name][0] for model in models]
    labels = sorted(label.label for label in run.plan.facts.data.labels)
    # A file that was edited may hold fewer figures than items, and numbers of no class.
    items = min(len(row) for one in found for row in _rows(one))
    known = all(0 <= said < len(labels) for one in found for said in one.predicted)
    counted = np.flatnonzero(scored_items(run)[:items]).tolist()
    kept = kept_texts(run)
    texts = {place: text for place, text in kept.items() if place < items and known}
    if not texts:
        return NotMeasured(reason="This run kept no texts of test rows.")
    winner = next(s for s, model in zip(found, models, strict=True) if model.role == "winner")
    written = not winner.predicted
    titles = [shortened(clean(one), LABEL_CHARACTERS) for one in labels]
    shown = _Shown(found, titles, texts, counted)
    if written:
        said = [set(one.generated.said) for one in found if one.generated]
        places = sorted(set(texts).intersection(*said)) if said else []
        if not places:
            return NotMeasured(reason="No model of this run wrote answers to test items.")
    else:
        places = sorted(texts)
    groups = _changed(shown, places, found[0], winner) if models[0].role == "base" else []
    if not written:
        suspects = suspected(scored[chosen], counted)
        groups.append(shown.group("suspect", [p for p in suspects if p in texts], len(suspects)))
        wrong = [p for p in counted if not winner.item_scores[p]]
        wrong.sort(key=lambda p: winner.confidence[p], reverse=True)
        others = [p for p in wrong if p in texts and p not in suspects]
        groups.append(shown.group("confident", others, len(wrong)))
    groups = [group for group in groups if group.items]
    return Figures(models=models, groups=tuple(groups), written=written)


def _rows(score: TestScore) -> Sequence[Sequence[float]]:
    classes = (score.predicted, score.confidence) if score.predicted else ()
    return (score.item_losses, score.item_scores, *classes)


def _changed(
    shown: _Shown, places: Sequence[int], base: TestScore, winner: TestScore
) -> list[OutputGroup]:
    """The items whose loss fell and rose most from base to winner, and others at random."""
    gain = {p: base.item_losses[p] - winner.item_losses[p] for p in places}
    ranked = sorted(places, key=lambda p: -gain[p])
    better = [p for p in ranked if gain[p] > _SEEN]
    worse = [p for p in reversed(ranked) if gain[p] < -_SEEN]
    taken = {*better[:_SHOWN], *worse[:_SHOWN]}
    # Items are ordered by a hash of their content: the first ones are a random sample.
    rest = [p for p in places if p not in taken]
    gains = np.subtract(base.item_losses, winner.item_losses)[list(shown.counted)]
    return [
        shown.group("improved", better, int((gains > _SEEN).sum())),
        shown.group("worsened", worse, int((gains < -_SEEN).sum())),
        shown.group("random", rest, len(gains)),
    ]


class _Shown:
    """Makes groups of items from the scores and texts of a run."""

    def __init__(
        self,
        scores: Sequence[TestScore],
        labels: Sequence[str],
        texts: dict[int, ItemText],
        counted: Sequence[int],
    ) -> None:
        self._scores, self._labels, self._texts = scores, labels, texts
        self.counted = counted

    def group(self, kind: GroupKind, places: Sequence[int], of: int) -> OutputGroup:
        most = _SUSPECTS if kind == "suspect" else _SHOWN
        return OutputGroup(kind=kind, items=tuple(map(self._item, places[:most])), of=of)

    def _item(self, place: int) -> ShownItem:
        text = self._texts[place]
        return ShownItem(
            item=int(place),
            line=text.line,
            asked=text.asked,
            reference=text.reference,
            answers=tuple(self._answer(score, int(place)) for score in self._scores),
        )

    def _answer(self, score: TestScore, place: int) -> ShownAnswer | None:
        loss = score.item_losses[place]
        if score.predicted:
            label = self._labels[score.predicted[place]]
            return ShownAnswer(text=label, loss=loss, confidence=score.confidence[place])
        said = score.generated.said.get(place) if score.generated else None
        return None if said is None else ShownAnswer(text=said, loss=loss)


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
