"""Makes the page with blind pairs of answers for raters, and reads the files they send back."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.errors import Problem, UsageError
from sweeper.findings.study.item_scores import scores_by_model, stored_texts
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.verdict.comparisons import compared_models
from sweeper.reporting.render import render_file, stylesheet
from sweeper.runfolder import RunFolder
from sweeper.safe_text import clean, visible
from sweeper.textfiles import write_text

# Three comparisons of 20 items are 60 pairs: half an hour at 30 seconds each.
MAX_RATED_ITEMS = 20

Choice = Literal["left", "right", "tie"]
RATINGS_FORMAT = "sweeper-human-ratings"
"""``format`` in a file of ratings."""


class RatedPair(Record):
    """The models whose answers to one test item are shown on the left and on the right."""

    id: str
    item: int
    left: str
    right: str


class HumanPage(Artifact):
    """The key of a page, which raters must not see: the model of each answer.

    ``same`` lists the (item, model) pairs whose answer equals the winner's: they are not shown and
    count as ties.
    """

    page: str = Field(description="digest of the pairs and of all texts")
    winner: str
    pairs: tuple[RatedPair, ...]
    same: tuple[tuple[int, str], ...] = ()


class Ratings(Artifact):
    """The ratings of one person: the file that a page exports."""

    format: Literal["sweeper-human-ratings"]
    page: str
    rater: str = Field(min_length=1, max_length=60)
    ratings: dict[str, Choice]
    checksum: str

    def expected_checksum(self) -> str:
        """FNV-1a (32 bits) of page, rater and ratings: shows edits, but proves no identity."""
        lines = [self.page, self.rater, *(f"{k}={v}" for k, v in sorted(self.ratings.items()))]
        value = 0x811C9DC5
        for byte in "\n".join(lines).encode():
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
        return f"{value:08x}"


class AllRatings(Artifact):
    """The ratings of all raters of one page."""

    raters: tuple[Ratings, ...]


def key_file(run: RunFolder) -> Path:
    """The file of a run's ``HumanPage``."""
    return run.feature("ratings") / "page.json"


def ratings_file(run: RunFolder) -> Path:
    """The file of a run's ``AllRatings``."""
    return run.feature("ratings") / "ratings.json"


def human_page(run: RunFiles) -> tuple[HumanPage, dict[str, dict[str, str]]]:
    """The pairs of a run, the same on each call, and the texts of each pair by its id.

    Raises:
        UsageError: There are no generated answers of two models.
    """
    scored, models = scores_by_model(run), compared_models(run)
    generated = {model.name: scored[model.name][0].generated for model in models}
    answered = {
        name: written.shown_texts
        for name, written in generated.items()
        if written and written.shown_texts
    }
    winner = next((model.name for model in models if model.role == "winner"), "")
    if winner not in answered or len(answered) < 2:
        raise _nothing_to_rate_error(run, winner, len(answered))
    texts = stored_texts(run)
    items = sorted(set(texts).intersection(*answered.values()))[:MAX_RATED_ITEMS]
    all_pairs = [(item, name) for name in answered if name != winner for item in items]
    same_answers = [
        (item, name) for item, name in all_pairs if answered[name][item] == answered[winner][item]
    ]
    shown_pairs = [pair for pair in all_pairs if pair not in same_answers]
    answers = [[item, name, answered[name][item]] for name in sorted(answered) for item in items]
    content = json.dumps([winner, answers, [texts[item].asked for item in items]])
    page = hashlib.sha256(content.encode()).hexdigest()[:16]
    # The winner is on the left in half of each comparison, so that a preference for a side cancels.
    rng = random.Random(page)
    winner_is_left = {name: rng.randrange(2) == 1 for name in answered}
    pairs, fields = [], {}
    rng.shuffle(shown_pairs)
    for number, (item, name) in enumerate(shown_pairs):
        winner_is_left[name] = not winner_is_left[name]
        left, right = (winner, name) if winner_is_left[name] else (name, winner)
        pair = RatedPair(id=f"p{number:02d}", item=item, left=left, right=right)
        pairs.append(pair)
        fields[pair.id] = {
            "asked": texts[item].asked,
            "reference": texts[item].reference,
            "left": answered[left][item],
            "right": answered[right][item],
        }
    return HumanPage(page=page, winner=winner, pairs=tuple(pairs), same=tuple(same_answers)), fields


def _nothing_to_rate_error(run: RunFiles, winner: str, answered: int) -> UsageError:
    if not winner:
        what, why = "there is nothing to rate yet", "The test split has not been scored."
        fix = f"Let the sweep end: sweeper run {run.folder.spec}"
    elif run.plan.facts.task == "classification":
        what, why = "the models of this run write no texts", "A classifier predicts classes."
        fix = "See its errors side by side in the report's section on samples."
    else:
        what = "this run kept no answers of two models that could be compared"
        why = f"Models with kept answers: {answered}. It ran with --no-texts or --generate-items 0."
        fix = "Run it again with --new and without these options."
    return UsageError(what, why=why, fix=fix, where=str(run.folder.path), code="no-answers")


_ASSETS = Path(__file__).parent / "_assets"


def write_page(run: RunFolder, output: Path | None = None) -> tuple[Path, HumanPage]:
    """Write the page for raters, and its key into the run; raters must not see the key.

    Args:
        run: A run whose test split has been scored.

    Raises:
        UsageError: There are no answers to compare.
    """
    key, texts = human_page(read_run(run))
    pairs = [
        {"id": pair.id, **{part: clean(text) for part, text in texts[pair.id].items()}}
        for pair in key.pairs
    ]
    path = output or key_file(run).with_suffix(".html")
    key.write(key_file(run))
    data = {"format": RATINGS_FORMAT, "page": key.page, "pairs": pairs}
    write_text(path, rendered(run.path.name, data))
    return path, key


def rendered(name: str, data: Mapping[str, Any]) -> str:
    """The page as one file.

    Args:
        name: Name of the run.
        data: ``format`` and ``page``, which the exported ratings carry, and ``pairs`` with ``id``,
            ``asked``, ``reference``, ``left`` and ``right`` of each.
    """
    pairs = [{key: visible(text) for key, text in pair.items()} for pair in data["pairs"]]
    style = stylesheet() + (_ASSETS / "page.css").read_text(encoding="utf-8")
    script = (_ASSETS / "page.js").read_text(encoding="utf-8")
    values = {"name": name, "data": {**data, "pairs": pairs}}
    return render_file(_ASSETS / "page.html.j2", style, script, **values)


def keep_ratings(run: RunFolder, files: Sequence[Path]) -> AllRatings:
    """Check the files of all raters and keep them in the run's folder, in place of earlier ones.

    Raises:
        UsageError: The run has no page, or a file holds no ratings, or those of another page,
            changed or unfinished ones, or those of a rater who has another file.
    """
    key = HumanPage.read_or_none(key_file(run))
    if key is None:
        human_page(read_run(run))  # raises if there can be no page
        raise UsageError(
            "this run has no page for raters",
            fix=f"Write it first: sweeper evaluate human {run.quoted}",
            where=str(run.path),
        )
    problems: list[Problem] = []
    files_by_rater: dict[str, tuple[Path, Ratings]] = {}
    for path in files:
        try:
            ratings = Ratings.read(path)
        except UsageError as error:
            problems += [
                Problem(
                    f"this file holds no ratings: {problem.what}",
                    fix="Ask the rater to export it again, with 'Download ratings' on the page.",
                    where=str(path),
                )
                for problem in error.problems
            ]
            continue
        if problem := _problem(ratings, key, path):
            problems.append(problem)
        elif ratings.rater in files_by_rater:
            problems.append(
                Problem(
                    f"there are two files of the rater {ratings.rater!r}",
                    why=f"The other one is {files_by_rater[ratings.rater][0]}.",
                    fix="Give only one. If two people share this name, one must take another.",
                    where=str(path),
                )
            )
        else:
            files_by_rater[ratings.rater] = path, ratings
    if problems:
        raise UsageError(problems)
    all_ratings = AllRatings(raters=tuple(ratings for _, ratings in files_by_rater.values()))
    all_ratings.write(ratings_file(run))
    return all_ratings


def _problem(ratings: Ratings, key: HumanPage, path: Path) -> Problem | None:
    """Why the ratings in a file cannot be used, if so."""
    where, ids = str(path), {pair.id for pair in key.pairs}
    if ratings.page != key.page:
        return Problem(
            "these ratings are of another page",
            why=f"They are of page {ratings.page}, but this run's page is {key.page}.",
            fix="Name the run that the page was made from.",
            where=where,
        )
    if ratings.checksum != ratings.expected_checksum() or set(ratings.ratings) - ids:
        return Problem(
            "these ratings were changed after the page had exported them",
            why="Their checksum does not match.",
            fix="Ask the rater for the file as it was downloaded.",
            where=where,
        )
    if missing := len(ids - set(ratings.ratings)):
        return Problem(
            f"these ratings are unfinished: {len(ids) - missing} of {len(ids)} pairs",
            fix="The rater can load this file on the page and continue.",
            where=where,
        )
    return None
