"""What do outputs look like? Test items with the answers of base, default and winner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import NotMeasured
from sweeper.findings.findings import Findings
from sweeper.findings.study.item_scores import entries, scored_items
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.compared_models import ComparedModel, compared_models, kept_texts
from sweeper.findings.verdict.suspected_labels import suspected
from sweeper.redaction import clean
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Folded,
    NamedFact,
    Number,
    Sample,
    Samples,
    Table,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.trials import ItemText, TestScore
from sweeper.visible import LABEL_CHARACTERS, shortened

_TITLES = {
    "improved": "most improved",
    "worsened": "most worsened",
    "random": "random",
    "suspect": "probable label error",
    "confident": "confident error",
}
# Characters of a text in the open part; the folded one has up to the second number.
_SHORT, _IN_TABLE = 130, 400
# Items of each kind in the open part.
_OPEN = {"improved": 3, "worsened": 3, "random": 2}


HEADING = Heading(30, "samples", "Outputs")


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


class ShownItem(ItemText):
    """One test item with its answers, in the order of the models; None where one wrote none."""

    item: int = Field(description="index in the test split, from 0")
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
    scores = [scored[model.name][0] for model in models]
    labels = sorted(label.label for label in run.plan.facts.data.labels)
    # A file that was edited may hold fewer figures than items, and numbers of no class.
    items = min(len(row) for score in scores for row in _rows(score))
    readable = all(0 <= answered < len(labels) for score in scores for answered in score.predicted)
    counted = np.flatnonzero(scored_items(run)[:items]).tolist()
    kept = kept_texts(run)
    texts = {item: text for item, text in kept.items() if item < items and readable}
    if not texts:
        return NotMeasured(reason="This run kept no texts of test rows.")
    winner = next(s for s, model in zip(scores, models, strict=True) if model.role == "winner")
    written = not winner.predicted
    titles = [shortened(clean(label), LABEL_CHARACTERS) for label in labels]
    shown = _Shown(scores, titles, texts, counted)
    if written:
        answered = [set(score.generated.said) for score in scores if score.generated]
        places = sorted(set(texts).intersection(*answered)) if answered else []
        if not places:
            return NotMeasured(reason="No model of this run wrote answers to test items.")
    else:
        places = sorted(texts)
    groups = _changed(shown, places, scores[0], winner) if models[0].role == "base" else []
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


@dataclass(frozen=True)
class _Shown:
    """Makes groups of items from the scores and texts of a run."""

    scores: Sequence[TestScore]
    labels: Sequence[str]
    texts: dict[int, ItemText]
    counted: Sequence[int]

    def group(self, kind: GroupKind, places: Sequence[int], of: int) -> OutputGroup:
        most = _SUSPECTS if kind == "suspect" else _SHOWN
        return OutputGroup(kind=kind, items=tuple(map(self._item, places[:most])), of=of)

    def _item(self, item: int) -> ShownItem:
        answers = tuple(self._answer(score, int(item)) for score in self.scores)
        return ShownItem.taken_from(self.texts[item], item=int(item), answers=answers)

    def _answer(self, score: TestScore, item: int) -> ShownAnswer | None:
        loss = score.item_losses[item]
        if score.predicted:
            label = self.labels[score.predicted[item]]
            return ShownAnswer(text=label, loss=loss, confidence=score.confidence[item])
        text = score.generated.said.get(item) if score.generated else None
        return None if text is None else ShownAnswer(text=text, loss=loss)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A few inputs and answers side by side, and the rest folded."""
    yield _open(figures, report)
    for group in figures.groups if figures.written else ():
        yield Samples(_title(group), tuple(_sample(figures, item) for item in group.items))
    if not figures.written:
        pointer = "/sections/samples/groups"
        groups = enumerate(figures.groups)
        tables = (_table(figures, group, f"{pointer}/{index}") for index, group in groups)
        yield Folded("More rows", tuple(tables))


def _open(figures: Figures, report: Report) -> Table:
    """Base beside winner; the winner is called recommended only where it is."""
    decided = report.findings.verdict
    chosen = decided.kind in ("recommend", "tie") and not decided.recommended_baseline
    most = _OPEN if {group.kind for group in figures.groups} & _OPEN.keys() else {"confident": 6}
    items = [
        (group.kind, item)
        for group in figures.groups
        for item in group.items[: most.get(group.kind, 0)]
    ]
    firsts = [*{kind: (kind, item) for kind, item in reversed(items)}.values()]
    if figures.written:  # texts are long: one of each kind
        items = [row for row in items if row in firsts]
    cut = 2 * _SHORT if figures.written else _SHORT
    columns: list[Column[tuple[GroupKind, ShownItem]]] = [
        Column("", lambda row: _TITLES[row[0]] if row in firsts else ""),
        Column("input", lambda row: Cell(shortened(row[1].asked, cut), css="quoted")),
        Column("reference", lambda row: Cell(shortened(row[1].reference, cut), css="quoted")),
    ]
    for index, model in enumerate(figures.models):
        if model.role in ("base", "winner"):
            role = "base" if model.role == "base" else "recommended" if chosen else "best so far"
            columns.append(Column(f"{role}: {model.title}", partial(_answered, index, cut)))
    suspects = next((group.of for group in figures.groups if group.kind == "suspect"), 0)
    note = ""
    if suspects:
        note = f"{units.plural(suspects, 'test row')} may have a wrong class."
    return Table.of("samples-open", "Outputs on test items", columns, placed(items), note=note)


def _answered(index: int, cut: int, row: tuple[GroupKind, ShownItem]) -> Cell:
    """An answer; whether it is the reference is a sign as well as a colour."""
    answer, reference = _answer(index, row[1]), row[1].reference
    given = row[1].answers[index]
    right = given is not None and given.text == reference
    return Cell(shortened(f"{'✓ ' if right else ''}{answer}", cut), css="quoted")


def _title(group: OutputGroup) -> str:
    return f"{words.sentence(_TITLES[group.kind])} ({len(group.items)} of {group.of:,})"


def _sample(figures: Figures, item: ShownItem) -> Sample:
    both = zip(figures.models, item.answers, strict=True)
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


def _table(figures: Figures, group: OutputGroup, pointer: str) -> Table:
    columns: list[Column[ShownItem]] = [
        Number.of("row", "/line"),
        Column.of("input", "/asked", partial(shortened, most=_IN_TABLE)),
        Column.of("class in the data", "/reference"),
    ]
    columns += [
        Column(f"{model.role}: {model.title}", partial(_answer, index))
        for index, model in enumerate(figures.models)
    ]
    items = placed(group.items, f"{pointer}/items")
    return Table.of(f"samples-{group.kind}", _title(group), columns, items)


def _answer(index: int, item: ShownItem) -> str:
    answer = item.answers[index]
    if answer is None:
        return words.DASH
    sure = "" if answer.confidence is None else f" {100 * answer.confidence:.0f}%"
    return f"{answer.text}{sure}"
