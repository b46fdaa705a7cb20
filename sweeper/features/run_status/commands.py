"""``sweeper show``: progress and results of a run; ``sweeper list``: all runs of a folder."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import AsJson, RunName
from sweeper.runfolder import RunFolder

if TYPE_CHECKING:
    from sweeper.execution.state.status import Status

ORDER = 150
commands = typer.Typer()

_LIVE_SECONDS = 5


@commands.command("show")
def show(
    run: RunName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the run until it ends.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Open a page that refreshes until the run ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print status and verdict as JSON.")
    ] = False,
) -> None:
    """Show one run: progress while it runs, the verdict when it is done."""
    from rich.live import Live

    from sweeper.execution.state.status import ENDED
    from sweeper.views import progress
    from sweeper.views.console import is_live, out, show_line, show_page

    folder = RunFolder.find(run)
    console = out()
    if as_json:
        typer.echo(_as_json(folder))
        return
    if not folder.status.is_file():
        show_line(f"planned, not started\nStart it with: sweeper run {folder.spec}")
        return
    if live:
        _live(folder)
    elif follow and is_live():
        with Live(console=console, auto_refresh=False) as live_view:
            while (status := _current_status(folder)).phase not in ENDED:
                live_view.update(progress.view(status, console.width), refresh=True)
                time.sleep(0.5)
    elif follow:
        _follow_plainly(folder)
    status = _current_status(folder)
    show_page(progress.view(status, console.width))
    for text in filter(None, status.message.split("\n")):
        show_line(f"warning: {text}")
    if status.failed_because:
        show_line(f"error: {status.failed_because}")
    if status.phase == "interrupted" and not status.ended_at:
        show_line(
            f"No command is running this sweep; the last one was seen at {status.updated_at}."
        )
    _verdict(folder, status)


@commands.command("list")
def list_runs(
    runs_folder: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            help="The folder that holds runs. By default runs.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs here, with progress and verdict."""
    from sweeper.errors import RunError
    from sweeper.execution.state.second_command import statuses
    from sweeper.features.run_status._listing import listed, shortened
    from sweeper.views.console import out, say, show_page, table

    runs, root = [], runs_folder or Path("runs")
    for plan in sorted(root.glob("*/plan.json")):
        try:
            runs.append(RunFolder.find(plan.parent))
        except RunError as error:
            say(f"Left out: {error}")
    by_folder = statuses(runs)
    rows = [listed(run, by_folder.get(run.path)) for run in runs]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        out().print(f"No runs in {root}. Start one with 'sweeper run'.")
        return
    short = [shortened(row) for row in rows]
    show_page(table([*short[0]], ([*row.values()] for row in short)))


def _current_status(folder: RunFolder) -> Status:
    from sweeper.execution.state.second_command import statuses
    from sweeper.execution.state.status import Status

    return statuses([folder]).get(folder.path) or Status.read(folder.status)  # says what is damaged


def _live(folder: RunFolder) -> None:
    """Write ``live.html`` again and again until the run has ended, or until Ctrl-C.

    The file reloads itself, so that no server is needed.
    """
    import webbrowser

    from sweeper.artifact import write_text
    from sweeper.execution.state.status import ENDED
    from sweeper.features.run_status._live_page import live_page
    from sweeper.views import progress
    from sweeper.views.console import MAX_WIDTH, show_line

    path, opened, running, status = folder.path / "live.html", False, True, _current_status(folder)
    while running:
        try:
            if opened:
                time.sleep(_LIVE_SECONDS)
            status = _current_status(folder)
            running = status.phase not in ENDED
        except KeyboardInterrupt:
            running = False
        report = folder.report_html.read_text("utf-8") if folder.report_html.is_file() else ""
        refresh_seconds = _LIVE_SECONDS if running else None
        shown = progress.view(status, MAX_WIDTH)
        write_text(path, live_page(report, shown, refresh_seconds), synced=False)
        if not opened:
            show_line(f"live page: {path}")
            opened = webbrowser.open(path.resolve().as_uri()) or True


def _follow_plainly(folder: RunFolder) -> None:
    """Copy the run's events to stdout as plain lines until the run has ended."""
    from pydantic import ValidationError

    from sweeper.execution.state.events import Event
    from sweeper.execution.state.status import ENDED
    from sweeper.views.progress import SILENT, plain_line

    partial_line = ""
    with folder.events.open(encoding="utf-8", errors="replace") as events:
        while True:
            status = _current_status(folder)
            running = status.phase not in ENDED
            for text in events:
                partial_line += text
                if not partial_line.endswith("\n"):
                    break  # the rest of the line is still to be written
                line, partial_line = partial_line, ""
                with contextlib.suppress(ValidationError):  # a damaged line
                    event = Event.model_validate_json(line)
                    if event.kind not in SILENT:
                        typer.echo(plain_line(event, status))
            if not running:
                return
            time.sleep(0.5)


def _verdict(folder: RunFolder, status: Status) -> None:
    from sweeper.execution.state.status import ENDED
    from sweeper.features.run_status._next_step import step_now
    from sweeper.findings.findings import Findings
    from sweeper.views.console import show_line
    from sweeper.views.verdict_view import verdict_lines

    findings, lines = Findings.read_or_none(folder.findings), []
    if findings is not None:
        ended = status.phase in ENDED
        step = step_now(findings, folder.place, status) if ended else None
        lines += verdict_lines(findings, step)
    elif folder.findings.is_file():
        text = f"findings.json is damaged or of another version: sweeper report {folder.quoted}"
        lines.append(text)
    if findings is None and status.phase in ENDED and status.phase != "complete":
        lines.append(f"Resume with: sweeper run {folder.quoted}/sweep.yaml")
    if folder.report_html.is_file():
        lines.append(f"report: {folder.report_html}")
    for line in filter(None, lines):
        show_line(line)


def _as_json(folder: RunFolder) -> str:
    from sweeper.features.run_status._answer import ShownRun
    from sweeper.findings.findings import Findings

    status = _current_status(folder) if folder.status.is_file() else None
    findings = Findings.read_or_none(folder.findings)
    verdict = findings.verdict if findings else None
    shown = ShownRun(name=folder.path.name, status=status, verdict=verdict)
    return shown.model_dump_json(indent=2)


def answers() -> dict[str, Any]:
    """The type of what ``sweeper show`` prints with ``--json``."""
    from sweeper.features.run_status._answer import ShownRun

    return {"show": ShownRun}
