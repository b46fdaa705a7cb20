"""Prints runs for ``sweeper show`` and ``sweeper list``."""

from __future__ import annotations

import contextlib
import shlex
import time
import webbrowser

import typer
from pydantic import ValidationError
from rich.console import RenderableType
from rich.live import Live

from sweeper.artifact import Record
from sweeper.errors import UsageError
from sweeper.execution.state.continuation import statuses
from sweeper.execution.state.status import ENDED, Event, Status
from sweeper.findings.findings import Findings, NextStep, Verdict
from sweeper.findings.verdict.headline import headline_figures
from sweeper.findings.verdict.next_step import next_step
from sweeper.runfolder import RunFolder
from sweeper.textfiles import write_text
from sweeper.views import progress
from sweeper.views.console import MAX_WIDTH, can_redraw, html_of, out, show_line, show_page
from sweeper.views.progress import SILENT_EVENTS, plain_line
from sweeper.views.verdict_view import verdict_lines


class ShownRun(Record):
    """Status and verdict of a run; each is None until it exists."""

    name: str
    status: Status | None
    verdict: Verdict | None


# Seconds between reloads of the page in the browser.
_LIVE_SECONDS = 5


def show(folder: RunFolder, *, follow: bool, in_browser: bool) -> None:
    """Print the progress of a run, and its verdict when it has ended.

    Args:
        follow: Whether to show its progress until it ends, in the terminal.
        in_browser: Whether to do this on a page in the browser.
    """
    console = out()
    if not folder.status.is_file():
        show_line(f"planned, not started\nStart it with: sweeper run {folder.spec}")
        return
    if in_browser:
        _write_live_page(folder)
    elif follow and can_redraw():
        with Live(console=console, auto_refresh=False) as live_view:
            while (status := _current_status(folder)).phase not in ENDED:
                live_view.update(progress.view(status, console.width), refresh=True)
                time.sleep(0.5)
    elif follow:
        _print_events(folder)
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
    _print_verdict(folder, status)


def _current_status(folder: RunFolder) -> Status:
    """The status, which is ``interrupted`` if the run's command is gone.

    Raises:
        UsageError: The status file is damaged.
    """
    return statuses([folder]).get(folder.path) or Status.read(folder.status)


def _write_live_page(folder: RunFolder) -> None:
    """Write ``live.html`` every few seconds until the run has ended, or until Ctrl-C.

    The page reloads itself, so that no server is needed.
    """
    path, status = folder.path / "live.html", _current_status(folder)
    is_open, is_running = False, True
    while is_running:
        try:
            if is_open:
                time.sleep(_LIVE_SECONDS)
            status = _current_status(folder)
            is_running = status.phase not in ENDED
        except KeyboardInterrupt:
            is_running = False
        report = folder.report_html.read_text("utf-8") if folder.report_html.is_file() else ""
        refresh_seconds = _LIVE_SECONDS if is_running else None
        view = progress.view(status, MAX_WIDTH)
        write_text(path, live_page(report, view, refresh_seconds), synced=False)
        if not is_open:
            show_line(f"live page: {path}")
            webbrowser.open(path.resolve().as_uri())
            is_open = True


def _print_events(folder: RunFolder) -> None:
    """Copy the run's events to stdout as plain lines until the run has ended."""
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
                    if event.kind not in SILENT_EVENTS:
                        typer.echo(plain_line(event, status))
            if not running:
                return
            time.sleep(0.5)


def _print_verdict(folder: RunFolder, status: Status) -> None:
    findings, lines = Findings.read_or_none(folder.findings), []
    if findings is not None:
        ended = status.phase in ENDED
        step = current_next_step(findings, folder.place, status) if ended else None
        lines += verdict_lines(findings, step)
    elif folder.findings.is_file():
        remedy = f"Write it again: sweeper report {folder.quoted}"
        lines.append(f"findings.json is damaged or of another version. {remedy}")
    if findings is None and status.phase in ENDED and status.phase != "complete":
        lines.append(f"Resume with: sweeper run {folder.quoted}/sweep.yaml")
    if folder.report_html.is_file():
        lines.append(f"report: {folder.report_html}")
    for line in filter(None, lines):
        show_line(line)


def as_json(folder: RunFolder) -> str:
    """Status and verdict of a run as JSON, a ``ShownRun``."""
    status = _current_status(folder) if folder.status.is_file() else None
    findings = Findings.read_or_none(folder.findings)
    verdict = findings.verdict if findings else None
    shown_run = ShownRun(name=folder.path.name, status=status, verdict=verdict)
    return shown_run.model_dump_json(indent=2)


def listed(run: RunFolder, status: Status | None) -> dict[str, str]:
    """One run as a row: its name, status, trials, answer, verdict, score, and cost of training."""
    row = {"name": run.path.name, "status": "planned", "trials": "0"}
    row |= dict.fromkeys(("answer", "verdict", "score", "cost"), "")
    if status is not None:
        row["status"] = status.phase if status.phase in ENDED else "running"
        row["trials"] = f"{status.done}/{status.trials}"
    if not run.findings.is_file():  # before its first report
        return row
    try:
        findings = Findings.read(run.findings)
    except UsageError:  # a damaged run must not hide the others
        remedy = f"sweeper report {run.quoted}"
        return row | {"status": "unreadable", "answer": remedy, "verdict": remedy}
    run_figures = findings.run
    if status is None:
        row |= {
            "status": run_figures.status,
            "trials": f"{run_figures.ended}/{run_figures.trials_requested}",
        }
    if row["status"] == "complete":
        failed = f", {run_figures.failed} failed" if run_figures.failed else ""
        row["status"] += f"{failed}{'' if findings.baselines else ', no baselines'}"
    row |= {"answer": findings.verdict.answer, "verdict": findings.verdict.sentence}
    if figures := headline_figures(findings):
        score, cost = figures[:2]
        finalist = findings.finalist(findings.verdict.best_trial)
        tested = finalist is not None and finalist.test_score is not None
        has_test_score = tested or findings.verdict.recommended_baseline is not None
        row |= {
            "score": f"{score.text} ({score.detail})" if has_test_score else "",
            "cost": str(cost),
        }
    return row


def shortened(row: dict[str, str]) -> dict[str, str]:
    """The row without the verdict's sentence, and with shorter scores and costs.

    On a CPU, a cost ends with memory, as in ``1.2 GiB besides the process``.
    """
    return {
        name: text.replace("95% CI ", "").removesuffix(" besides the process")
        for name, text in row.items()
        if name != "verdict"
    }


def current_next_step(findings: Findings, place: str, status: Status) -> NextStep | None:
    """The next step now: after the findings, the command may be killed, or the folder moved.

    Args:
        place: ``RunFolder.place`` of the run, for use in a command.
        status: Status of the ended run; its numbers of trials may be newer.
    """
    last_status, step = findings.run.status, findings.next_step
    update = {
        "place": place,
        "status": status.phase if last_status == "running" else last_status,
        "trials_requested": status.trials,
        "complete": status.complete,
        "pruned": status.pruned,
        "failed": status.failed,
    }
    advice = []
    if step is not None and last_status == "complete":
        command = step.command.replace(shlex.quote(findings.run.place), shlex.quote(place))
        advice = [step.model_copy(update={"command": command})]
    run = findings.run.model_copy(update=update)
    return next_step(findings.model_copy(update={"run": run}), advice)


def live_page(report: str, content: RenderableType, refresh_seconds: int | None) -> str:
    """The report with the progress of its run on top.

    Args:
        report: Text of ``report.html``; empty before there is one.
        refresh_seconds: Seconds between reloads of the page; None when the run has ended.
    """
    page = report or '<!doctype html>\n<html lang="en"><head>\n<meta charset="utf-8">\n' + (
        "<title>sweeper</title></head>\n<body>\n</body></html>\n"
    )
    charset, body = '<meta charset="utf-8">\n', "<body>\n"
    refresh_tag = (
        f'<meta http-equiv="refresh" content="{refresh_seconds}">\n' if refresh_seconds else ""
    )
    page = page.replace(charset, charset + refresh_tag, 1)
    progress_html = html_of(content)
    return page.replace(body, f'{body}<div class="page" role="status">{progress_html}</div>\n', 1)
