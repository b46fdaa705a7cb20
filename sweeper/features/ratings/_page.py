"""The page for raters: written as one file, and the files that they send back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.artifact import write_text
from sweeper.errors import Problem, UsageError
from sweeper.features.ratings._pairs import (
    RATINGS_FORMAT,
    AllRatings,
    HumanPage,
    Ratings,
    human_page,
    key_file,
    ratings_file,
)
from sweeper.findings.study.reading import read_run
from sweeper.redaction import clean
from sweeper.reporting.html import one_file, stylesheet
from sweeper.runfolder import RunFolder
from sweeper.visible import visible

_ASSETS = Path(__file__).parent / "_assets"


def write_page(run: RunFolder, output: Path | None = None) -> tuple[Path, HumanPage]:
    """Write the page for raters, and beside the run its key, which raters must not see.

    Args:
        run: Its test split has been scored.

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
    return one_file(_ASSETS / "page.html.j2", style, script, **values)


def keep_ratings(run: RunFolder, files: Sequence[Path]) -> AllRatings:
    """Check the files of all raters and keep them in the run's folder, in place of earlier ones.

    Raises:
        UsageError: With the problems of all files: not ratings, of another page, changed,
            unfinished, or two of one rater.
    """
    key = HumanPage.read_or_none(key_file(run))
    if key is None:
        human_page(read_run(run))  # says why there can be none
        raise UsageError(
            "this run has no page for raters",
            fix=f"Write it first: sweeper evaluate human {run.quoted}",
            where=str(run.path),
        )
    problems: list[Problem] = []
    read: dict[str, tuple[Path, Ratings]] = {}
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
        elif ratings.rater in read:
            problems.append(
                Problem(
                    f"there are two files of the rater {ratings.rater!r}",
                    why=f"The other one is {read[ratings.rater][0]}.",
                    fix="Name one of them. Two people with one name rate again under two names.",
                    where=str(path),
                )
            )
        else:
            read[ratings.rater] = path, ratings
    if problems:
        raise UsageError(problems)
    kept = AllRatings(raters=tuple(ratings for _, ratings in read.values()))
    kept.write(ratings_file(run))
    return kept


def _problem(ratings: Ratings, key: HumanPage, path: Path) -> Problem | None:
    where, ids = str(path), {pair.id for pair in key.pairs}
    if ratings.page != key.page:
        return Problem(
            "these ratings are of another page",
            why=f"They belong to page {ratings.page}, and this run's page is {key.page}.",
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
