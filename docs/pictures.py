"""Draws the pictures of the pages: python docs/pictures.py FLAGS-OF-SWEEPER-RUN

Runs the demo twice in a temporary folder, which takes minutes: for the run under way, its report,
the list of both runs and their comparison. The picture of a plan is one of the pages that
generate.py makes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from sweeper.execution.state.status import Event, Status
from sweeper.findings.words import fitted
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.views.console import lines_of
from sweeper.views.progress import SILENT_EVENTS, Screen, event_line, view

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH = 100
# rich names fonts of another host, which a page must not ask.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
# Without a size of its own, a picture in a table shrinks to nothing.
_FORMAT = _FORMAT.replace("<svg ", '<svg width="{width}" height="{height}" ', 1)
_PLAN = "plan --task classification --examples 2000 --gpu-memory 24 --model 7B"
# The picture of a run shows it when so many trials have ended, with their last lines.
_ENDED, _LINES = 9, 6


def plan_picture() -> str:
    """A plan on a terminal, as SVG."""
    return terminal(f"sweeper {_PLAN}", sweeper(*_PLAN.split()), "plan")


def sweeper(*arguments: str, folder: Path = ROOT) -> str:
    """What a command prints to a terminal."""
    command = [sys.executable, "-m", "sweeper", *arguments]
    look = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "NO_COLOR": ""}
    done = subprocess.run(
        command, cwd=folder, env=look, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def terminal(title: str, text: str, name: str) -> str:
    """A terminal with this text, as SVG that asks no other host."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    picture = console.export_svg(title=title, code_format=_FORMAT, unique_id=f"sweeper-{name}")
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


def running(folder: RunFolder) -> str | None:
    """The screen of a run under way; None while too few trials have ended."""
    status = Status.read_or_none(folder.status)
    if status is None or status.phase != "search" or status.done < _ENDED:
        return None
    if len(status.running) < 2 or any(job.validation_loss is None for job in status.running):
        return None
    screen, ended = Screen(Plan.read(folder.plan), folder), []
    for line in folder.events.read_text(encoding="utf-8").splitlines():
        event = Event.model_validate_json(line)
        screen.update(event, status)
        if event.kind not in SILENT_EVENTS:
            ended.append(fitted(event_line(event, status.objective, screen), WIDTH))
    page = lines_of(view(status, WIDTH, screen), Console(width=WIDTH))
    return "\n".join([*ended[-_LINES:], *page])


def screenshot(page: Path, picture: Path) -> None:
    """The first screen of a page, as PNG."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(path for name in names if (path := shutil.which(name)))
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    size = ("--window-size=1280,800", f"--screenshot={picture}")
    subprocess.run([browser, *flags, *size, page.resolve().as_uri()], check=True)


def main(flags: list[str]) -> None:
    """Draw all pictures that need a run."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = [sys.executable, str(ROOT / "examples" / "stdlib.py"), "order", "-o"]
        subprocess.run([*data, "runs/data/order"], cwd=folder, check=True)
        command = [sys.executable, "-m", "sweeper", "run", *flags, "--name", "demo"]
        run, drawn = subprocess.Popen(command, cwd=folder), None
        while run.poll() is None:
            time.sleep(0.1)
            drawn = drawn or running(RunFolder(folder / "runs" / "demo"))
        assert run.returncode == 0
        assert drawn is not None
        sweeper("run", *flags, "--name", "demo-seed-1", "--seed", "1", folder=folder)
        sweeper("report", "demo", "demo-seed-1", folder=folder)
        screens = {
            "run": ("sweeper run", drawn),
            "verdict": ("sweeper show demo", sweeper("show", "demo", folder=folder)),
            "list": ("sweeper list", sweeper("list", folder=folder)),
        }
        for picture, (title, text) in screens.items():
            (PICTURES / f"{picture}.svg").write_text(terminal(title, text, picture), "utf-8")
        screenshot(folder / "runs" / "demo" / "report.html", PICTURES / "report.png")
        screenshot(folder / "comparison.html", PICTURES / "comparison.png")


if __name__ == "__main__":
    main(sys.argv[1:])
