"""``sweeper evaluate human`` and ``sweeper evaluate ratings``: which answers people prefer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import TypedDict

from sweeper.cli.options import AsJson, RunName

ORDER = 41  # position in the help
commands = typer.Typer(name="evaluate", help="Score or compare models of a run.")


class WrittenPage(TypedDict):
    """What ``evaluate human --json`` prints."""

    page: str
    id: str
    pairs: int


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.ratings.section import Figures

    return {"evaluate human": WrittenPage, "evaluate ratings": Figures}


@commands.command("human")
def human(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File for the page; in the run by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page on which people compare answers blindly.

    They see the answers of base, default, winner and runner-up. 'sweeper evaluate ratings' reads
    the files that the page exports.
    """
    from sweeper.packages import RUNS, require

    require("sweeper evaluate human", RUNS)
    from sweeper.features.ratings._page import write_page
    from sweeper.runfolder import RunFolder

    folder = RunFolder.find(run)
    with folder.lock():
        path, page = write_page(folder, output)
    read_command = f"sweeper evaluate ratings {folder.quoted} FILE..."
    _show(
        {"page": str(path), "id": page.page, "pairs": len(page.pairs)},
        [
            f"{len(page.pairs)} pairs: {path}",
            "Open it in a browser, or send it to raters. Then read the files that they download: "
            f"{read_command}",
        ],
        as_json=as_json,
    )


@commands.command("ratings")
def ratings(
    run: RunName,
    files: Annotated[list[Path], typer.Argument(help="Files that people exported from the page.")],
    as_json: AsJson = False,
) -> None:
    """Read the ratings of people into the run, in place of earlier ones."""
    from sweeper.packages import RUNS, require

    require("sweeper evaluate ratings", RUNS)
    from sweeper.features.ratings._page import keep_ratings
    from sweeper.features.ratings.section import HEADING, Figures, preference_sentences
    from sweeper.findings import words
    from sweeper.processes.report_maker import ReportMaker, shows_texts
    from sweeper.runfolder import RunFolder

    folder = RunFolder.find(run)
    with folder.lock():
        keep_ratings(folder, files)
        with ReportMaker(folder, texts=shows_texts(folder)) as maker:
            figures = maker.finish().figures(HEADING.id, Figures)
    assert figures is not None
    rates = [
        f"against {rated.title}: win rate {words.in_percent(rated.win_rate)}, {rated.outcome}"
        for rated in figures.preferences
    ]
    lines = [*preference_sentences(figures), *rates, f"report: {folder.report_html}"]
    _show(figures.model_dump(mode="json"), lines, as_json=as_json)


def _show(fields: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    from sweeper.views.console import show_line

    if as_json:
        typer.echo(json.dumps(fields, indent=2, ensure_ascii=False))
        return
    for line in lines:
        show_line(line)
