"""How the command shows what its own child processes do, on each kind of stream."""

from __future__ import annotations

import doctest
import io
import json
import sys
import time

import pytest
from rich.console import Console

from sweeper.steps import run as run_steps
from sweeper.views import work_progress
from sweeper.views.console import say_nothing
from sweeper.views.work_progress import Bar, Hidden, Lines, followed, told
from sweeper.views.work_progress import work_progress as view

WORK = """
import sys, time
print("loading")
for done in (1, 2, 3):
    print("PROGRESS reading weights", done, 3)
print("to the log", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def test_doctests():
    assert doctest.testmod(work_progress).failed == 0


@pytest.mark.parametrize(
    "line",
    ["", "PROGRESS", "PROGRESS 1 2", "PROGRESS x one two", "progress x 1 2", "a PROGRESS 1 2"],
)
def test_other_lines_are_no_progress(line):
    assert told(line) is None


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_is_followed_to_its_end(status):
    seen = []

    class Seen(Hidden):
        def __call__(self, *state):
            seen.append(state)

        def close(self):
            seen.append("closed")

    found = followed([sys.executable, "-c", WORK, str(status)], Seen())
    assert found == (status, "to the log\n")
    assert seen == [("reading weights", n, 3) for n in (1, 2, 3)] + ["closed"]


def test_lines_are_seconds_apart(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = Lines(lambda *state: said.append(state))
    for second in range(25):
        now[0] = 100.0 + second
        lines("converting", second, 25)
    assert said == [("converting", 10, 25), ("converting", 20, 25)]


@pytest.mark.parametrize(("mode", "quiet"), [("none", False), ("plain", True), ("auto", True)])
def test_nothing_is_shown_where_nothing_is_wanted(mode, quiet, capsys, monkeypatch):
    monkeypatch.setattr(work_progress, "LINE_SECONDS", 0.0)
    shown = view(mode, quiet=quiet)
    shown("converting", 1, 2)
    shown.close()
    assert capsys.readouterr().err == ""


def test_a_plain_line_and_an_event(capsys, monkeypatch):
    monkeypatch.setattr(work_progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(work_progress, "_JSON_SECONDS", 0.0)
    view("plain")("converting", 1, 2)
    assert capsys.readouterr().err.split(" ", 1)[1] == "progress converting: 1 of 2\n"
    view("auto", "jsonl")("converting", 1, 2)
    event = json.loads(capsys.readouterr().err)
    assert event.pop("at")
    assert event == {"kind": "progress", "what": "converting", "done": 1, "of": 2}


def test_a_bar_is_gone_when_the_work_is_done(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    monkeypatch.setattr(work_progress, "err", lambda: console)
    bar = Bar()
    bar.close()
    bar("downloading [x]", 1, 4)
    bar("converting", 2, 4)
    bar.close()
    text = stream.getvalue()
    assert "downloading [x]" in text
    assert "converting" in text
    assert "2/4" in text
    assert text.rstrip().endswith("\x1b[2K")  # the line was cleared


def test_a_conversion_shows_its_progress_and_its_error(monkeypatch, tmp_path):
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{WORK}' 3\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    seen = []

    class Seen(Hidden):
        def __call__(self, *state):
            seen.append(state)

    with pytest.raises(run_steps.SpecError, match="packaged:x could not be prepared") as error:
        run_steps._convert("packaged:x", Seen(), say_nothing)
    assert "to the log" in str(error.value)
    assert len(seen) == 3
