"""The real command over the curve backend, killed where it hurts, then given again."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psutil
import pytest
from optuna.trial import TrialState

from sweeper.execution.state.attempts import attempts_of, crashes
from sweeper.execution.state.status import Status
from sweeper.trials import TestSeal

pytestmark = pytest.mark.usefixtures("preloaded")

FAST = {"CURVE_QUICK": "1"}


def kill_a_worker(commands) -> bool:
    for process in commands.workers():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        return True
    return False


def test_a_killed_command_leaves_no_orphan_and_resumes_to_the_same_total(
    commands, assert_whole: Callable[[int], None]
) -> None:
    popen = commands.start(8, 1, **FAST, CURVE_WAITS="2:2:1")
    commands.wait_for(lambda: len(commands.lines("trained.log")) > 2)
    popen.kill()
    popen.wait()
    commands.wait_for(lambda: not commands.workers())
    popen = commands.start(8, 1, **FAST, CURVE_WAITS="4:2:1")
    commands.wait_for(lambda: len(commands.lines("trained.log")) > 5)
    assert kill_a_worker(commands)
    popen.kill()  # both at once
    popen.wait()
    assert commands.finish(8, 1, **FAST).strip() == "complete"
    assert_whole(8)
    assert TestSeal.read(commands.run.test_seal).complete


def test_a_signal_ends_the_run_well_and_the_trial_keeps_its_number(
    commands, assert_whole: Callable[[int], None]
) -> None:
    kept: dict[int, object] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        popen = commands.start(5, 1, **FAST, CURVE_WAITS="1:2:1,2:2:1")
        before = len(commands.lines("trained.log"))
        commands.wait_for(lambda before=before: len(commands.lines("trained.log")) >= before + 2)
        popen.send_signal(number)
        out, errors = popen.communicate(timeout=300)
        assert popen.returncode == 128 + number, errors
        assert out.strip() == "interrupted"
        assert not commands.workers()
        status = Status.read(commands.run.status)
        assert (status.phase, status.running, status.process) == ("interrupted", (), None)
        interrupted = int(commands.lines("trained.log")[-1].split()[0])
        if commands.states()[interrupted] == TrialState.WAITING:  # else it came between two trials
            kept[interrupted] = commands.trials()[interrupted].params
    commands.finish(5, 1, **FAST)
    assert_whole(5)
    assert kept
    for number, parameters in kept.items():
        again = commands.trials()[number]
        assert again.params == parameters
        assert max(attempts_of(commands.run.trial(number))) > 1
        assert not crashes(commands.run.trial(number))
