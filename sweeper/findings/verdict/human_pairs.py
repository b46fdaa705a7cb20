"""Blind pairs of answers for people to rate, and what their ratings show."""

from __future__ import annotations

import hashlib
import json
import math
import random
from itertools import combinations

import numpy as np
from scipy import special

from sweeper.errors import UsageError
from sweeper.findings.figures import Interval
from sweeper.findings.record import (
    AllRatings,
    HumanPage,
    HumanPreferences,
    RatedPair,
    Ratings,
    WinRate,
)
from sweeper.findings.study.item_scores import entries, model_title
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.verdict.comparisons import Contest
from sweeper.findings.verdict.outputs import compared_models, kept_texts

# Three comparisons of 20 items are 60 pairs: half an hour at 30 seconds each.
MOST_ITEMS = 20


def human_page(run: RunFiles, contest: Contest) -> tuple[HumanPage, dict[str, dict[str, str]]]:
    """The pairs of a run, always the same ones, and the texts of each by its id.

    Raises:
        UsageError: There are no written answers of two models.
    """
    scored = entries(run)
    models = compared_models(run, contest)
    wrote = {model.name: scored[model.name][0].generated for model in models}
    said = {name: written.said for name, written in wrote.items() if written and written.said}
    winner = next((model.name for model in models if model.role == "winner"), "")
    if winner not in said or len(said) < 2:
        raise _nothing_to_rate(run, winner, len(said))
    texts = kept_texts(run)
    items = sorted(set(texts).intersection(*said.values()))[:MOST_ITEMS]
    all_pairs = [(item, name) for name in said if name != winner for item in items]
    same = [(item, name) for item, name in all_pairs if said[name][item] == said[winner][item]]
    shown = [pair for pair in all_pairs if pair not in same]
    answers = [[item, name, said[name][item]] for name in sorted(said) for item in items]
    told = json.dumps([winner, answers, [texts[item].asked for item in items]])
    page = hashlib.sha256(told.encode()).hexdigest()[:16]
    # The winner is on the left in half of each comparison, so that a liking for a side cancels.
    chance = random.Random(page)
    sides = {name: chance.randrange(2) for name in said}
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
            "left": said[left][item],
            "right": said[right][item],
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
    return UsageError(what, why=why, fix=fix, where=str(run.folder.path))


def preferences(run: RunFiles) -> HumanPreferences | None:
    """What the ratings in the run's folder show; None where there are none."""
    page = HumanPage.read_or_none(run.folder.human / "page.json")
    found = AllRatings.read_or_none(run.folder.human / "ratings.json")
    if page is None or found is None or not found.raters:
        return None
    ids = {pair.id for pair in page.pairs}
    if any(set(one.ratings) != ids for one in found.raters):
        return None  # of another page
    names = dict.fromkeys(
        [*(p.left if p.right == page.winner else p.right for p in page.pairs)]
        + [name for _, name in page.same]
    )
    items = {pair.item for pair in page.pairs} | {item for item, _ in page.same}
    agreement, kappa = _agreement(page, found.raters)
    sides = [choice for one in found.raters for choice in one.ratings.values() if choice != "tie"]
    left = sides.count("left")
    return HumanPreferences(
        winner=model_title(run, page.winner),
        raters=len(found.raters),
        items=len(items),
        preferences=tuple(_preference(run, page, found.raters, n, len(names)) for n in names),
        agreement=agreement,
        kappa=kappa,
        left_share=wilson(left, len(sides)) if sides else None,
    )


def _preference(
    run: RunFiles, page: HumanPage, raters: tuple[Ratings, ...], name: str, comparisons: int
) -> WinRate:
    """The winner's share of items, an item counting once however many rated it."""
    points: list[float] = []
    counts = {"won": 0, "tied": 0, "lost": 0}
    for pair in page.pairs:
        if name not in (pair.left, pair.right):
            continue
        own = "left" if pair.left == page.winner else "right"
        chosen = [one.ratings[pair.id] for one in raters]
        won, tied = chosen.count(own), chosen.count("tie")  # type: ignore[arg-type]
        points.append((won + tied / 2) / len(chosen))
        for kind, more in (("won", won), ("tied", tied), ("lost", len(chosen) - won - tied)):
            counts[kind] += more
    same = sum(other == name for _, other in page.same)
    points += [0.5] * same
    shown = wilson(math.fsum(points), len(points))
    # The word stands for one of several comparisons, so its level is Bonferroni's.
    strict = wilson(math.fsum(points), len(points), 0.05 / comparisons)
    low, high = strict.low or 0.0, 1.0 if strict.high is None else strict.high
    word = "preferred" if low > 0.5 else "not preferred" if high < 0.5 else "undecided"
    return WinRate.model_validate(
        {
            **counts,
            "other": name,
            "title": model_title(run, name),
            "same": same,
            "win_rate": shown,
            "outcome": word,
        }
    )


def wilson(successes: float, of: int, level: float = 0.05) -> Interval:
    """A share with its interval (Wilson 1927); halves of ties are halves of a success.

    Ties vary less than wins and losses do, so that the interval is then wider than it need be.

    >>> found = wilson(8, 10)
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (0.8, 0.49, 0.943)
    """
    z = float(special.ndtri(1 - level / 2))
    share, shrink = successes / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / shrink
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / shrink
    return Interval(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), n=of)


def _agreement(page: HumanPage, raters: tuple[Ratings, ...]) -> tuple[float | None, float | None]:
    """Share of equal ratings and Cohen's kappa, both as means over pairs of raters."""
    rows = [[one.ratings[pair.id] for pair in page.pairs] for one in raters]
    if len(rows) < 2 or not rows[0]:
        return None, None
    # Imported where it is needed: it takes a second, and few reports have ratings.
    from sklearn.metrics import cohen_kappa_score

    equal, kappas = [], []
    for first, second in combinations(rows, 2):
        equal.append(np.mean([a == b for a, b in zip(first, second, strict=True)]))
        if len({*first, *second}) > 1:  # else chance alone would agree, and kappa is undefined
            kappas.append(cohen_kappa_score(first, second))
    return float(np.mean(equal)), float(np.mean(kappas)) if kappas else None
