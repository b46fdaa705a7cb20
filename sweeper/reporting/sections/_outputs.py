"""Which test items to show with the answers of base, default, winner and runner-up.

Items are chosen by the change of their loss from the base to the winner. For classes come the
winner's most confident errors, and the items whose class is probably wrong in the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from sweeper.artifact import Record
from sweeper.findings.figures import NotMeasured
from sweeper.findings.study.item_scores import entries, usable
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.compared_models import ComparedModel, compared_models, kept_texts
from sweeper.redaction import clean
from sweeper.trials import ItemText, TestScore
from sweeper.visible import LABEL_CHARACTERS, shortened

# Items of one kind: what a reader looks through. Suspects are work to be done, so there are more.
_SHOWN, _SUSPECTS = 4, 12
# Probability of the class in the data, above which the model itself thinks it possible.
_UNLIKELY = 0.05
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


def outputs(run: RunFiles) -> Figures | NotMeasured:
    """Items with the answers of the models that the verdict speaks of.

    Args:
        run: Its seal holds answers and the texts of some items.
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
    kept = kept_texts(scored)
    texts = {place: text for place, text in kept.items() if 0 <= place < items and known}
    if not texts:
        return NotMeasured(reason="This run kept no texts of test rows.")
    winner = next(s for s, model in zip(found, models, strict=True) if model.role == "winner")
    written = not winner.predicted
    shown = _Shown(found, [shortened(clean(one), LABEL_CHARACTERS) for one in labels], texts)
    if written:
        said = [set(one.generated.said) for one in found if one.generated]
        places = sorted(set(texts).intersection(*said)) if said else []
        if not places:
            return NotMeasured(reason="No model of this run wrote answers to test items.")
    else:
        places = sorted(texts)
    groups = _changed(shown, places, found[0], winner) if models[0].role == "base" else []
    if not written:
        suspects = suspected(scored[chosen])
        groups.append(shown.group("suspect", [p for p in suspects if p in texts], len(suspects)))
        wrong = [p for p in np.argsort(winner.confidence)[::-1] if not winner.item_scores[p]]
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
    count = len(base.item_losses)
    gains = np.subtract(base.item_losses, winner.item_losses)
    return [
        shown.group("improved", better, int((gains > _SEEN).sum())),
        shown.group("worsened", worse, int((gains < -_SEEN).sum())),
        shown.group("random", rest, count),
    ]


def suspected(trainings: Sequence[TestScore]) -> list[int]:
    """Items whose class is probably wrong, the most certain first.

    All trainings of one configuration predict the same other class, with a probability that is at
    least its mean among the items of that class which are predicted right: the threshold of
    confident learning (Northcutt et al. 2021, arXiv:1911.00068, section 3.1), with models that saw
    none of these items. The class in the data has at most ``_UNLIKELY``: a model that is never
    sure, because its task is hard, would else suspect every other error (docs/report.md has the
    figures).
    """
    rows = [
        one for one in trainings if one.predicted and len(one.predicted) == len(one.item_losses)
    ]
    if not rows or not usable([one.item_losses for one in rows]):
        return []
    predicted = np.array([one.predicted for one in rows])
    given = np.exp(-np.array([one.item_losses for one in rows])).mean(axis=0)
    confidence = np.array([one.confidence for one in rows]).mean(axis=0)
    agreed = (predicted == predicted[0]).all(axis=0)
    wrong = agreed & ~np.array([one.item_scores for one in rows]).astype(bool).any(axis=0)
    right = np.array(rows[0].item_scores, dtype=bool)
    found = []
    for place in np.flatnonzero(wrong):
        own = given[right & (predicted[0] == predicted[0][place])]
        sure = own.size and confidence[place] >= own.mean()
        if sure and given[place] <= _UNLIKELY:
            found.append(int(place))
    return sorted(found, key=lambda p: given[p] - confidence[p])


class _Shown:
    """Makes groups of items from the scores and texts of a run."""

    def __init__(
        self, scores: Sequence[TestScore], labels: Sequence[str], texts: dict[int, ItemText]
    ) -> None:
        self._scores, self._labels, self._texts = scores, labels, texts

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
