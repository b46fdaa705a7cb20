"""What do outputs look like? Test items with the answers of base, default and winner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Literal

import numpy as np
from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, NotMeasured
from sweeper.findings.study.item_scores import (
    scored_items,
    scores_by_model,
    stored_texts,
    suspected_labels,
)
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.comparisons import ComparedModel, compared_models
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Folded,
    ListedFact,
    Number,
    Sample,
    Samples,
    Table,
    with_json_pointers,
)
from sweeper.reporting.document import Report
from sweeper.safe_text import LABEL_CHARACTERS, clean, shortened
from sweeper.trials import ItemText, TestScore

# Kind of group to its title.
_TITLES = {
    "improved": "most improved",
    "worsened": "most worsened",
    "random": "random",
    "suspect": "probable label error",
    "confident": "confident error",
}
# Maximum number of characters of a text in the open table, and in the folded tables.
_OPEN_CHARACTERS, _FOLDED_CHARACTERS = 120, 400
# Maximum number of items of each kind in the open table.
_OPEN_ITEMS = {"improved": 3, "worsened": 3, "random": 2}
# Maximum number of words of its texts, since the open page has at most 600. The first two items are
# shown whatever their length.
_OPEN_WORDS = 80

HEADING = Heading(30, "samples", "Outputs")
# Maximum number of items of a kind, and of suspected label errors, which need action.
_MAX_ITEMS, _MAX_SUSPECTS = 4, 12
# Smallest change of a loss that counts, in nats: the probability of the reference changes by 5%.
_MIN_CHANGE = 0.05

GroupKind = Literal["improved", "worsened", "random", "suspect", "confident"]


class ShownAnswer(Record):
    """One model's answer to an item: the generated text, or the predicted class."""

    text: str
    loss: float
    confidence: float | None = Field(None, description="probability of the predicted class")


class ShownItem(ItemText):
    """A test item with an answer of each model; None for a model without an answer."""

    item: int = Field(description="index in the test split, from 0")
    answers: tuple[ShownAnswer | None, ...]


class OutputGroup(Record):
    """Some items of one kind; ``of`` is the number of all test items of this kind."""

    kind: GroupKind
    items: tuple[ShownItem, ...]
    of: int


class Figures(Record):
    """Groups of test items with the answers of ``models``, in their order."""

    models: tuple[ComparedModel, ...]
    groups: tuple[OutputGroup, ...]
    written: bool = Field(
        description="whether answers are generated texts; otherwise they are classes"
    )


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """Test items with the answers of the models that the verdict compares.

    Items are chosen by the change of their loss from base to winner. For classes, the winner's most
    confident errors and probable label errors are added.
    """
    scored, models = scores_by_model(run), compared_models(run)
    winner_name = next((model.name for model in models if model.role == "winner"), None)
    if not run.texts:
        return NotMeasured(reason="Texts of rows and answers were left out of this report.")
    if winner_name is None:
        return NotMeasured(reason="Answers are shown once the test split has been scored.")
    scores = [scored[model.name][0] for model in models]
    labels = sorted(label.label for label in run.plan.facts.data.labels)
    # An edited file may have fewer scores than items, or invalid class numbers.
    item_count = min(len(row) for score in scores for row in _rows(score))
    numbers = [number for score in scores for number in score.predicted]
    has_valid_classes = all(0 <= number < len(labels) for number in numbers)
    scored_indices = np.flatnonzero(scored_items(run)[:item_count]).tolist()
    texts = {item: text for item, text in stored_texts(run).items() if item < item_count}
    if not texts or not has_valid_classes:
        return NotMeasured(reason="This run kept no texts of test rows.")
    winner = next(s for s, model in zip(scores, models, strict=True) if model.role == "winner")
    written = not winner.predicted
    titles = [shortened(clean(label), LABEL_CHARACTERS) for label in labels]
    maker = _GroupMaker(scores, titles, texts, scored_indices)
    if written:
        answered = [set(score.generated.shown_texts) for score in scores if score.generated]
        indices = sorted(set(texts).intersection(*answered)) if answered else []
        if not indices:
            return NotMeasured(reason="No model of this run wrote answers to test items.")
    else:
        indices = sorted(texts)
    groups = (
        _most_changed_items(maker, indices, scores[0], winner) if models[0].role == "base" else []
    )
    if not written:
        suspects = suspected_labels(scored[winner_name], scored_indices)
        shown_suspects = [item for item in suspects if item in texts]
        groups.append(maker.group("suspect", shown_suspects, of=len(suspects)))
        errors = [item for item in scored_indices if not winner.item_scores[item]]
        errors.sort(key=lambda item: winner.confidence[item], reverse=True)
        other_errors = [item for item in errors if item in texts and item not in suspects]
        groups.append(maker.group("confident", other_errors, of=len(errors)))
    groups = [group for group in groups if group.items]
    return Figures(models=models, groups=tuple(groups), written=written)


def _rows(score: TestScore) -> Sequence[Sequence[float]]:
    """The fields of a model's score that have a value for each item."""
    classes = (score.predicted, score.confidence) if score.predicted else ()
    return (score.item_losses, score.item_scores, *classes)


def _most_changed_items(
    maker: _GroupMaker, indices: Sequence[int], base: TestScore, winner: TestScore
) -> list[OutputGroup]:
    """The items whose loss improved or worsened most from base to winner, and random others."""
    gains = np.subtract(base.item_losses, winner.item_losses)
    ranked = sorted(indices, key=lambda item: -gains[item])
    improved = [item for item in ranked if gains[item] > _MIN_CHANGE]
    worsened = [item for item in reversed(ranked) if gains[item] < -_MIN_CHANGE]
    listed_items = {*improved[:_MAX_ITEMS], *worsened[:_MAX_ITEMS]}
    # Items are in the order of a hash of their content, so the first ones are a random sample.
    other_items = [item for item in indices if item not in listed_items]
    scored_gains = gains[list(maker.scored_indices)]
    return [
        maker.group("improved", improved, of=int((scored_gains > _MIN_CHANGE).sum())),
        maker.group("worsened", worsened, of=int((scored_gains < -_MIN_CHANGE).sum())),
        maker.group("random", other_items, of=len(scored_gains)),
    ]


@dataclass(frozen=True)
class _GroupMaker:
    """Makes groups of items. ``scores`` are of the shown models, ``labels`` the classes' titles."""

    scores: Sequence[TestScore]
    labels: Sequence[str]
    texts: dict[int, ItemText]
    scored_indices: Sequence[int]

    def group(self, kind: GroupKind, indices: Sequence[int], of: int) -> OutputGroup:
        max_items = _MAX_SUSPECTS if kind == "suspect" else _MAX_ITEMS
        return OutputGroup(kind=kind, items=tuple(map(self._item, indices[:max_items])), of=of)

    def _item(self, item: int) -> ShownItem:
        answers = tuple(self._answer(score, int(item)) for score in self.scores)
        return ShownItem.taken_from(self.texts[item], item=int(item), answers=answers)

    def _answer(self, score: TestScore, item: int) -> ShownAnswer | None:
        loss = score.item_losses[item]
        if score.predicted:
            label = self.labels[score.predicted[item]]
            return ShownAnswer(text=label, loss=loss, confidence=score.confidence[item])
        text = score.generated.shown_texts.get(item) if score.generated else None
        return None if text is None else ShownAnswer(text=text, loss=loss)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A table of a few items, then folded groups of items."""
    yield _open_table(figures, report)
    for group in figures.groups if figures.written else ():
        yield Samples(_title(group), tuple(_sample(figures, item) for item in group.items))
    if not figures.written:
        pointer = "/sections/samples/groups"
        groups = enumerate(figures.groups)
        tables = (_table(figures, group, f"{pointer}/{index}") for index, group in groups)
        yield Folded("More rows", tuple(tables))


def _open_table(figures: Figures, report: Report) -> Table:
    """Items with the answers of base and winner; a heading says if the winner is recommended."""
    verdict = report.findings.verdict
    is_recommended = verdict.kind in ("recommend", "tie") and not verdict.recommended_baseline
    max_items = (
        _OPEN_ITEMS
        if {group.kind for group in figures.groups} & _OPEN_ITEMS.keys()
        else {"confident": 6}
    )
    items = _open_items(figures, max_items)
    first_of_kinds = [*{kind: (kind, item) for kind, item in reversed(items)}.values()]
    columns: list[Column[tuple[GroupKind, ShownItem]]] = [
        Column("", lambda row: _TITLES[row[0]] if row in first_of_kinds else ""),
        Column("input", lambda row: Cell(shortened(row[1].asked, _OPEN_CHARACTERS), css="quoted")),
        Column(
            "reference",
            lambda row: Cell(shortened(row[1].reference, _OPEN_CHARACTERS), css="quoted"),
        ),
    ]
    for index, model in enumerate(figures.models):
        if model.role in ("base", "winner"):
            role = (
                "base"
                if model.role == "base"
                else "recommended"
                if is_recommended
                else "best so far"
            )
            columns.append(Column(f"{role}: {model.title}", partial(_answer_cell, index)))
    suspects = next((group.of for group in figures.groups if group.kind == "suspect"), 0)
    note = f"{units.plural(suspects, 'test row')} may have a wrong class." if suspects else ""
    return Table.of(
        "samples-open", "Outputs on test items", columns, with_json_pointers(items), note=note
    )


def _open_items(
    figures: Figures, max_items: Mapping[str, int]
) -> list[tuple[GroupKind, ShownItem]]:
    """At most ``max_items`` of each kind, taken in turns while their words fit the open page."""
    turns = sorted(
        (turn, index)
        for index, group in enumerate(figures.groups)
        for turn in range(min(len(group.items), max_items.get(group.kind, 0)))
    )
    word_counts = accumulate(_word_count(figures.groups[i].items[turn]) for turn, i in turns)
    places = [
        (index, turn)
        for rank, ((turn, index), word_count) in enumerate(zip(turns, word_counts, strict=True))
        if rank < 2 or word_count <= _OPEN_WORDS
    ]
    return [(figures.groups[i].kind, figures.groups[i].items[turn]) for i, turn in sorted(places)]


def _word_count(item: ShownItem) -> int:
    """Words of an item's texts as the open table shows them."""
    texts = [item.asked, item.reference, *(answer.text for answer in item.answers if answer)]
    return sum(len(text[:_OPEN_CHARACTERS].split()) for text in texts)


def _answer_cell(index: int, row: tuple[GroupKind, ShownItem]) -> Cell:
    """The cell of an answer; a check mark shows that it equals the reference."""
    item = row[1]
    answer = item.answers[index]
    mark = "✓ " if answer is not None and answer.text == item.reference else ""
    return Cell(shortened(f"{mark}{_answer(index, item)}", _OPEN_CHARACTERS), css="quoted")


def _title(group: OutputGroup) -> str:
    return f"{words.sentence(_TITLES[group.kind])} ({len(group.items)} of {group.of:,})"


def _sample(figures: Figures, item: ShownItem) -> Sample:
    pairs = zip(figures.models, item.answers, strict=True)
    answers = [(model.role, answer) for model, answer in pairs if answer is not None]
    losses = [f"{role} {words.number(answer.loss)}" for role, answer in answers]
    return Sample(
        f"Row {item.line}; loss of the reference: {', '.join(losses)}",
        (
            ListedFact("input", item.asked, css="wide"),
            ListedFact("reference", item.reference),
            *(ListedFact(role, answer.text or words.DASH) for role, answer in answers),
        ),
    )


def _table(figures: Figures, group: OutputGroup, pointer: str) -> Table:
    columns: list[Column[ShownItem]] = [
        Number.of("row", "/line"),
        Column.of("input", "/asked", partial(shortened, most=_FOLDED_CHARACTERS)),
        Column.of("class in the data", "/reference"),
    ]
    columns += [
        Column(f"{model.role}: {model.title}", partial(_answer, index))
        for index, model in enumerate(figures.models)
    ]
    items = with_json_pointers(group.items, f"{pointer}/items")
    return Table.of(f"samples-{group.kind}", _title(group), columns, items)


def _answer(index: int, item: ShownItem) -> str:
    """A model's answer, for a class with its probability; a dash without an answer."""
    answer = item.answers[index]
    if answer is None:
        return words.DASH
    confidence = "" if answer.confidence is None else f" {100 * answer.confidence:.0f}%"
    return f"{answer.text}{confidence}"
