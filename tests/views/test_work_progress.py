"""How the command shows what its own child processes do, on each kind of stream."""

from __future__ import annotations

import io
import json
import time

import pytest
from rich.console import Console

from sweeper.views import work_progress
from sweeper.views.work_progress import Bar, Lines
from sweeper.views.work_progress import work_progress as view


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
