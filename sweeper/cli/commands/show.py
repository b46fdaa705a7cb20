"""``sweeper show``: progress and results of a run; ``--follow`` keeps updating."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import RunName
from sweeper.runfolder import RunFolder

if TYPE_CHECKING:
    from sweeper.execution.state.status import Status

_LIVE_SECONDS = 5
ENDED = ("complete", "interrupted", "timeout", "failed")


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
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from sweeper.execution.state.second_command import run_now
    from sweeper.execution.state.status import Status
    from sweeper.views import progress
    from sweeper.views.console import is_live, out, show_line

    folder = RunFolder.find(run)
    console = out()
    if as_json:
        typer.echo(_as_json(folder))
        return
    if not folder.status.is_file():
        show_line(f"planned, not started\nStart it with: sweeper run {folder.spec}")
        return
    status = Status.read(folder.status)
    if live:
        _live(folder, status)
        status = Status.read(folder.status)
    elif follow and is_live():
        with Live(console=console, auto_refresh=False) as drawn:
            while _goes_on(folder, status):
                status = Status.read(folder.status)
                lines = progress.view(status, console.width)
                drawn.update(Group(*(Text(line) for line in lines)), refresh=True)
                time.sleep(0.5)
    elif follow:
        _follow_plainly(folder)
        status = Status.read(folder.status)
    for line in progress.view(status, console.width):
        show_line(line)
    for text in filter(None, status.message.split("\n")):
        show_line(f"warning: {text}")
    lost = status.phase not in ENDED and not run_now([folder])
    if lost:
        show_line(
            f"No command is running this sweep; the last one was seen at {status.updated_at}."
        )
    left = status.phase == "failed" and status.done < status.trials  # a full disk ends a run so
    if lost or left or status.phase == "interrupted":
        show_line(f"Resume with: sweeper run {folder.spec}")
    _verdict(folder)


def _live(folder: RunFolder, status: Status) -> None:
    """Write ``live.html`` again and again until the run has ended, or until Ctrl-C.

    A file that reloads itself: no server listens for anybody.
    """
    import webbrowser

    from sweeper.artifact import write_text
    from sweeper.execution.state.status import Status
    from sweeper.views import html, progress
    from sweeper.views.console import show_line

    path, opened, goes_on = folder.path / "live.html", False, True
    while goes_on:
        try:
            if opened:
                time.sleep(_LIVE_SECONDS)
            status = Status.read(folder.status)
            goes_on = _goes_on(folder, status)
        except KeyboardInterrupt:
            goes_on = False
        report = folder.report_html.read_text("utf-8") if folder.report_html.is_file() else ""
        again = _LIVE_SECONDS if goes_on else None
        lines = progress.view(status, 100)
        write_text(path, html.live_page(report, lines, again), synced=False)
        if not opened:
            show_line(f"live page: {path}")
            opened = webbrowser.open(path.resolve().as_uri()) or True


def _goes_on(folder: RunFolder, status: Status) -> bool:
    from sweeper.execution.state.second_command import run_now

    return status.phase not in ENDED and bool(run_now([folder]))


def _follow_plainly(folder: RunFolder) -> None:
    """Copy the run's events to stdout as plain lines until the run has ended."""
    from pydantic import ValidationError

    from sweeper.execution.state.events import Event
    from sweeper.execution.state.status import Status
    from sweeper.views.progress import plain_line

    begun = ""
    with folder.events.open(encoding="utf-8", errors="replace") as events:
        while True:
            status = Status.read(folder.status)
            goes_on = _goes_on(folder, status)
            for text in events:
                begun += text
                if not begun.endswith("\n"):
                    break  # the rest of the line is still to be written
                line, begun = begun, ""
                with contextlib.suppress(ValidationError):  # of a file that was damaged
                    event = Event.model_validate_json(line)
                    if event.kind != "rung":
                        typer.echo(plain_line(event, status))
            if not goes_on:
                return
            time.sleep(0.5)


def _verdict(folder: RunFolder) -> None:
    from sweeper.findings.record import Findings
    from sweeper.findings.verdict.tested import cost_line
    from sweeper.views.console import show_line

    findings = Findings.read_or_none(folder.findings)
    if findings is None and folder.findings.is_file():
        text = f"findings.json is damaged or of another version: sweeper report {folder.path}"
        show_line(text)
    if findings is not None:
        for line in (findings.verdict.sentence, cost_line(findings)):
            if line:
                show_line(line)
    if folder.report_html.is_file():
        show_line(f"report: {folder.report_html}")


def _as_json(folder: RunFolder) -> str:
    import json

    from sweeper.execution.state.status import Status
    from sweeper.findings.record import Findings

    status = Status.read(folder.status) if folder.status.is_file() else None
    findings = Findings.read_or_none(folder.findings)
    return json.dumps(
        {
            "name": folder.path.name,
            "status": status.model_dump(mode="json") if status else None,
            "verdict": findings.verdict.model_dump(mode="json") if findings else None,
        },
        indent=2,
    )
