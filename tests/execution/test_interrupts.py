"""Ctrl-C, TERM and a vanished terminal, sent to the real command."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest
from commands import PATHS, Sweeper, check_whole
from optuna.trial import TrialState

from sweeper.execution.state.status import Status

pytestmark = pytest.mark.usefixtures("preloaded")

WAITS = {"CURVE_WAITS": "1:2:3"}


def nothing_runs(sweeper: Sweeper) -> bool:
    return not sweeper.workers() and TrialState.RUNNING not in sweeper.states()


def training(sweeper: Sweeper, more: int) -> None:
    before = len(sweeper.lines("trained.log"))
    sweeper.wait_for(lambda: len(sweeper.lines("trained.log")) >= before + more)


def test_ctrl_c_twice_term_and_a_lost_terminal_leave_a_run_that_resumes(sweeper: Sweeper) -> None:
    popen = sweeper.start(6, 1, **WAITS)
    training(sweeper, 2)
    sweeper.wait_for(sweeper.run.report_html.is_file)  # while trials train
    page = sweeper.run.report_html.read_text()
    assert popen.poll() is None
    assert "This sweep is running" in page
    assert "<svg" in page
    popen.send_signal(signal.SIGINT)
    out, errors = popen.communicate(timeout=300)
    assert popen.returncode == 130, errors
    assert "Interrupted. Resume with: sweeper run" in errors
    assert "report: " in out
    assert "This sweep was interrupted" in sweeper.run.report_html.read_text()
    assert nothing_runs(sweeper)
    assert Status.read(sweeper.run.status).phase == "interrupted"
    said = [event for event in sweeper.lines("events.jsonl") if "run-ended" in event]
    assert len(said) == 1

    popen = sweeper.start(6, 1, **WAITS)
    training(sweeper, 1)
    popen.send_signal(signal.SIGTERM)
    popen.send_signal(signal.SIGINT)
    _, errors = popen.communicate(timeout=300)
    assert popen.returncode in (130, 143), errors
    assert nothing_runs(sweeper)

    lose_the_terminal(sweeper)
    assert nothing_runs(sweeper)
    assert Status.read(sweeper.run.status).phase == "interrupted"
    sweeper.finish(6)
    check_whole(sweeper, 6)
    reasons = [row["ended_attempts"] for row in sweeper.table().values() if row["ended_attempts"]]
    assert reasons
    assert all("interrupted" in reason for reason in reasons)


def lose_the_terminal(sweeper: Sweeper) -> None:
    """Run on a terminal that goes away."""
    ours, theirs = pty.openpty()
    command = sweeper.command(6, 1, 0)
    command[command.index("plain")] = "auto"
    popen = subprocess.Popen(
        command,
        cwd=sweeper.folder.parents[1],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": PATHS, **WAITS},
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    training(sweeper, 1)
    os.close(ours)
    assert popen.wait(timeout=300) == 143


def take_terminal() -> None:
    """Make standard input the controlling terminal, so that its end is told by SIGHUP."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


PLANNING = """
import os, sys
from sweeper.cli.main import main
from sweeper.steps import sweep as run_steps
for number in map(int, sys.argv.pop(1).split(",")):
    if not (child := os.fork()):
        run_steps.measured_plan = lambda *_, **_kw: os.kill(os.getpid(), number)
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_signal_while_it_still_plans_ends_with_the_same_code(sweeper: Sweeper) -> None:
    sweeper.write_rows()
    signals = ",".join(str(int(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    words = sweeper.command(6, 1, 0)[3:]
    done = subprocess.run(
        [sys.executable, "-c", PLANNING, signals, *words],
        cwd=sweeper.folder.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [int(line) for line in done.stdout.splitlines()] == [130, 143, 143], done.stderr
    assert "Traceback" not in done.stderr
    assert not sweeper.folder.exists()
