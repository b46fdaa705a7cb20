"""Blind pairs of answers for people to rate, and the files of their ratings."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.errors import UsageError
from sweeper.findings.study.item_scores import entries
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.compared_models import compared_models, kept_texts
from sweeper.runfolder import RunFolder

# Three comparisons of 20 items are 60 pairs: half an hour at 30 seconds each.
MOST_ITEMS = 20

Choice = Literal["left", "right", "tie"]
RATINGS_FORMAT = "sweeper-human-ratings"


class RatedPair(Record):
    """The winner's answer and another model's to one test item, on the sides they are shown."""

    id: str
    item: int
    left: str
    right: str


class HumanPage(Artifact):
    """Which answers a page shows: the key that its raters do not see.

    ``same`` are pairs (item, model) whose two answers are equal: they are not shown and count as
    ties.
    """

    page: str = Field(description="digest of the pairs and of all texts")
    winner: str
    pairs: tuple[RatedPair, ...]
    same: tuple[tuple[int, str], ...] = ()


class Ratings(Artifact):
    """What one rater answered: the file that a page exports."""

    format: Literal["sweeper-human-ratings"]
    page: str
    rater: str = Field(min_length=1, max_length=60)
    ratings: dict[str, Choice]
    checksum: str

    def expected_checksum(self) -> str:
        """FNV-1a (32 bits) of page, rater and ratings: shows an edit, proves no identity."""
        lines = [self.page, self.rater, *(f"{k}={v}" for k, v in sorted(self.ratings.items()))]
        value = 0x811C9DC5
        for byte in "\n".join(lines).encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
        return f"{value:08x}"


class AllRatings(Artifact):
    """The ratings of all raters of one page."""

    raters: tuple[Ratings, ...]


def key_file(run: RunFolder) -> Path:
    """The file of the ``HumanPage``."""
    return run.feature("ratings") / "page.json"


def ratings_file(run: RunFolder) -> Path:
    """The file of ``AllRatings``."""
    return run.feature("ratings") / "ratings.json"


def human_page(run: RunFiles) -> tuple[HumanPage, dict[str, dict[str, str]]]:
    """The pairs of a run, always the same ones, and the texts of each by its id.

    Raises:
        UsageError: There are no written answers of two models.
    """
    scored, models = entries(run), compared_models(run)
    wrote = {model.name: scored[model.name][0].generated for model in models}
    answered = {name: written.said for name, written in wrote.items() if written and written.said}
    winner = next((model.name for model in models if model.role == "winner"), "")
    if winner not in answered or len(answered) < 2:
        raise _nothing_to_rate(run, winner, len(answered))
    texts = kept_texts(run)
    items = sorted(set(texts).intersection(*answered.values()))[:MOST_ITEMS]
    all_pairs = [(item, name) for name in answered if name != winner for item in items]
    same = [
        (item, name) for item, name in all_pairs if answered[name][item] == answered[winner][item]
    ]
    shown = [pair for pair in all_pairs if pair not in same]
    answers = [[item, name, answered[name][item]] for name in sorted(answered) for item in items]
    content = json.dumps([winner, answers, [texts[item].asked for item in items]])
    page = hashlib.sha256(content.encode()).hexdigest()[:16]
    # The winner is on the left in half of each comparison, so that a liking for a side cancels.
    chance = random.Random(page)
    sides = {name: chance.randrange(2) for name in answered}
    pairs, fields = [], {}
    chance.shuffle(shown)
    for number, (item, name) in enumerate(shown):
        sides[name] = 1 - sides[name]
        left, right = (winner, name) if sides[name] else (name, winner)
        pair = RatedPair(id=f"p{number:02d}", item=item, left=left, right=right)
        pairs.append(pair)
        fields[pair.id] = {
            "asked": texts[item].asked,
            "reference": texts[item].reference,
            "left": answered[left][item],
            "right": answered[right][item],
        }
    return HumanPage(page=page, winner=winner, pairs=tuple(pairs), same=tuple(same)), fields


def _nothing_to_rate(run: RunFiles, winner: str, writers: int) -> UsageError:
    if not winner:
        what, why = "there is nothing to rate yet", "The test split has not been scored."
        fix = f"Let the sweep end: sweeper run {run.folder.spec}"
    elif run.plan.facts.task == "classification":
        what, why = "the models of this run write no texts", "A classifier predicts classes."
        fix = "See its errors side by side in the report's section on samples."
    else:
        what = "this run kept no answers of two models that could be compared"
        why = f"{writers} of its models kept some. It ran with --no-texts or --generate-items 0."
        fix = "Run it again with --new and without these options."
    return UsageError(what, why=why, fix=fix, where=str(run.folder.path), code="no-answers")
