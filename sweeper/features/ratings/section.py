"""The report's section on the answers that raters prefer."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from itertools import combinations
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import special

from sweeper import units
from sweeper.artifact import Record
from sweeper.errors import UsageError
from sweeper.features.parts import Heading
from sweeper.features.ratings._page import (
    AllRatings,
    HumanPage,
    Ratings,
    human_page,
    key_file,
    ratings_file,
)
from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, NotMeasured
from sweeper.findings.study.item_scores import model_title
from sweeper.findings.study.reading import RunFiles
from sweeper.reporting.blocks import Block, Column, Number, Table, Text, with_json_pointers
from sweeper.reporting.document import Report

HEADING = Heading(98, "preferences", "Preferences")


class WinRate(Record):
    """The winner against one model.

    ``won``, ``tied`` and ``lost`` count ratings. ``same`` counts the items that both models
    answered alike, which nobody rates.
    """

    other: str
    title: str
    won: int
    tied: int
    lost: int
    same: int
    win_rate: Interval = Field(description="share of items, ties as a half")
    outcome: Literal["preferred", "not preferred", "undecided"]


class Figures(Record):
    """The preferences of a run's raters."""

    winner: str
    raters: int
    items: int
    preferences: tuple[WinRate, ...]
    agreement: float | None = Field(
        None, description="share of equal ratings, over pairs of raters"
    )
    kappa: float | None = Field(None, description="Cohen's, mean over pairs of raters")
    left_share: Interval | None = Field(None, description="share of the left side, without ties")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured | None:
    """The ratings in the run's folder; None for classification, which is not rated."""
    if findings.run.task == "classification":
        return None
    return _preferences(run) or _not_rated(run)


def _not_rated(run: RunFiles) -> NotMeasured:
    text = "Nobody has rated answers of this run."
    try:
        human_page(run)  # only to learn whether there is a page to rate
    except UsageError:
        return NotMeasured(reason=text)
    command = f"sweeper evaluate human {shlex.quote(run.folder.path.name)}"
    return NotMeasured(reason=f"{text} Write a page for raters:", command=command)


def _preferences(run: RunFiles) -> Figures | None:
    """The raters' preferences; None without ratings of this page."""
    page = HumanPage.read_or_none(key_file(run.folder))
    ratings = AllRatings.read_or_none(ratings_file(run.folder))
    if page is None or ratings is None or not ratings.raters:
        return None
    ids = {pair.id for pair in page.pairs}
    if any(set(rater.ratings) != ids for rater in ratings.raters):
        return None  # ratings of another page
    names = dict.fromkeys(
        [*(p.left if p.right == page.winner else p.right for p in page.pairs)]
        + [name for _, name in page.same]
    )
    items = {pair.item for pair in page.pairs} | {item for item, _ in page.same}
    agreement, kappa = _agreement(page, ratings.raters)
    sides = [
        choice for rater in ratings.raters for choice in rater.ratings.values() if choice != "tie"
    ]
    return Figures(
        winner=model_title(run, page.winner),
        raters=len(ratings.raters),
        items=len(items),
        preferences=tuple(_preference(run, page, ratings.raters, n, len(names)) for n in names),
        agreement=agreement,
        kappa=kappa,
        left_share=wilson(sides.count("left"), len(sides)) if sides else None,
    )


def _preference(
    run: RunFiles, page: HumanPage, raters: tuple[Ratings, ...], name: str, comparisons: int
) -> WinRate:
    """The winner's win rate against model ``name``. Each item counts once, with all its ratings."""
    points: list[float] = []
    counts = {"won": 0, "tied": 0, "lost": 0}
    for pair in page.pairs:
        if name not in (pair.left, pair.right):
            continue
        winner_side = "left" if pair.left == page.winner else "right"
        choices = [rater.ratings[pair.id] for rater in raters]
        wins, ties = choices.count(winner_side), choices.count("tie")  # type: ignore[arg-type]
        points.append((wins + ties / 2) / len(choices))
        for kind, count in (("won", wins), ("tied", ties), ("lost", len(choices) - wins - ties)):
            counts[kind] += count
    same = sum(other == name for _, other in page.same)
    points += [0.5] * same
    interval = wilson(math.fsum(points), len(points))
    # Each comparison has an outcome, so the level is corrected for their number (Bonferroni).
    corrected_interval = wilson(math.fsum(points), len(points), 0.05 / comparisons)
    low = corrected_interval.low or 0.0
    high = 1.0 if corrected_interval.high is None else corrected_interval.high
    outcome = "preferred" if low > 0.5 else "not preferred" if high < 0.5 else "undecided"
    return WinRate.model_validate(
        {
            **counts,
            "other": name,
            "title": model_title(run, name),
            "same": same,
            "win_rate": interval,
            "outcome": outcome,
        }
    )


def wilson(successes: float, n: int, level: float = 0.05) -> Interval:
    """A share with its Wilson interval (1927); a tie counts as half a success.

    Ties vary less than wins and losses, so with ties the interval is wider than necessary.

    >>> share = wilson(8, 10)
    >>> share.value, round(share.low, 3), round(share.high, 3)
    (0.8, 0.49, 0.943)
    """
    z = float(special.ndtri(1 - level / 2))
    share, shrink = successes / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / shrink
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / shrink
    return Interval(
        value=share, low=max(0.0, center - half_width), high=min(1.0, center + half_width), n=n
    )


def _agreement(page: HumanPage, raters: tuple[Ratings, ...]) -> tuple[float | None, float | None]:
    """Share of equal ratings and Cohen's kappa, both as means over pairs of raters."""
    rows = [[rater.ratings[pair.id] for pair in page.pairs] for rater in raters]
    if len(rows) < 2 or not rows[0]:
        return None, None
    # Imported where it is needed: it takes a second, and few reports have ratings.
    from sklearn.metrics import cohen_kappa_score

    equal_shares, kappas = [], []
    for first, second in combinations(rows, 2):
        equal_shares.append(np.mean([a == b for a, b in zip(first, second, strict=True)]))
        if len({*first, *second}) > 1:  # otherwise, kappa is undefined
            kappas.append(cohen_kappa_score(first, second))
    return float(np.mean(equal_shares)), float(np.mean(kappas)) if kappas else None


def finding(figures: Figures, report: Report) -> str:
    """A sentence on the winner's win rate against each other model."""
    wins = [f"against {p.title} on {words.in_percent(p.win_rate)}" for p in figures.preferences]
    return f"{words.sentence(figures.winner)} wins {units.joined(wins)} of test items."


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """The winner's win rates, how far raters agree, and how often the left side was chosen."""
    yield Text(preference_sentences(figures))
    columns: list[Column[WinRate]] = [
        Column.of("against", "/title"),
        Number(
            "win rate (95% CI)", lambda rate: words.in_percent(rate.win_rate), "/win_rate/value"
        ),
        Number.of("won", "/won"),
        Number.of("no difference", "/tied"),
        Number.of("lost", "/lost"),
        Number.of("same answer", "/same", unit="items"),
        Column.of("", "/outcome"),
    ]
    yield Table.of(
        "preference-table",
        f"How often people prefer {figures.winner}",
        columns,
        with_json_pointers(figures.preferences, "/sections/preferences/preferences"),
        note="A tie is half a win, and so are two identical answers. Intervals (Wilson) "
        "are over items, however many people rated one. 'preferred' and 'not preferred' are "
        "corrected for the number of comparisons (Bonferroni, 5% in all).",
    )


def preference_sentences(figures: Figures) -> tuple[str, ...]:
    """Sentences on the number of raters, their agreement, and the choices of the left side."""
    sentences = [
        f"{units.plural(figures.raters, 'rater')} compared answers of {figures.winner}, the "
        f"winner, with those of other models on {units.plural(figures.items, 'test item')}, "
        "without knowing which was which."
    ]
    if figures.agreement is not None:
        kappa = (
            ""
            if figures.kappa is None
            else f" (Cohen's kappa {words.minus(f'{figures.kappa:.2f}')})"
        )
        sentences.append(f"Two raters agree on {100 * figures.agreement:.0f}% of pairs{kappa}.")
    if figures.left_share is not None:
        sentences.append(
            f"The left answer was chosen in {words.in_percent(figures.left_share)} of choices."
        )
        low, high = figures.left_share.low or 0.0, figures.left_share.high or 1.0
        if not low <= 0.5 <= high:
            sentences.append(
                "So the side mattered. Each model stood on the left in half of its pairs, so this "
                "favours none, but it pulls win rates towards 50%."
            )
    return tuple(sentences)
