"""A kill at every moment of a trial's life, in one study of the real command."""

from __future__ import annotations

import contextlib
from collections import Counter

import psutil
import pytest
from commands import Sweeper, check_whole
from faults import MOMENTS
from optuna.trial import TrialState

from sweeper.execution.state.attempts import RESULT
from sweeper.execution.state.status import Status
from sweeper.trials import TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")

# Enough trials for all kills on any machine: how many end in between depends on its speed.
TRIALS, KILLS = 20, len(MOMENTS)
FAULTS = {"CURVE_STEP_SECONDS": "0.02", "CURVE_KILLS": str(KILLS)}


def completed(sweeper: Sweeper) -> dict[int, tuple[float | None, int]]:
    """What has completed by now: losses and attempts."""
    return {
        trial.number: (trial.value, TrialResult.read(folder / RESULT).attempt)
        for trial in sweeper.trials()
        if trial.state == TrialState.COMPLETE and (folder := sweeper.run.trial(trial.number))
    }


def test_many_kills_lose_nothing_repeat_nothing_and_are_all_explained(sweeper: Sweeper) -> None:
    before: dict[int, tuple[float | None, int]] = {}
    for kills in (6, 12):
        popen = sweeper.start(TRIALS, 2, **FAULTS)
        sweeper.wait_for(lambda kills=kills: len(sweeper.lines("kills.log")) >= kills, 400.0)
        if kills == 12:  # a worker and the command at once
            for process in sweeper.workers()[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):  # it may just have killed itself
                    process.kill()
        popen.kill()
        popen.communicate()
        sweeper.wait_for(lambda: not sweeper.workers())  # no orphan; one may still be importing
        now = completed(sweeper)
        assert {number: now[number] for number in before} == before
        before = now
    code, _, errors = sweeper.ended(TRIALS, 2, **FAULTS)
    assert code == 0, errors
    assert not sweeper.workers()
    assert len(sweeper.lines("kills.log")) == KILLS
    assert set(sweeper.lines("kills.log")) == set(MOMENTS)
    check_whole(sweeper, TRIALS)
    now = completed(sweeper)
    assert {number: now[number] for number in before} == before
    check_table(sweeper)


def check_table(sweeper: Sweeper) -> None:
    """``trials.csv`` and the status count every trial once and explain every attempt."""
    table, status = sweeper.table(), Status.read(sweeper.run.status)
    assert sorted(table) == list(range(TRIALS))
    states = Counter(row["state"] for row in table.values())
    assert (states["COMPLETE"], states["PRUNED"], states["FAIL"]) == (
        status.complete,
        status.pruned,
        status.failed,
    )
    assert sum(states.values()) == status.done == TRIALS
    for row in table.values():
        ended = [part.split(":")[0] for part in row["ended_attempts"].split(" | ") if part]
        whole = 0 if row["failure"] == "crash" else 1
        assert len(ended) + whole == int(row["attempts"]), row
        assert (row["state"] == "FAIL") == (row["failure"] == "crash")
        for part in filter(None, row["ended_attempts"].split(" | ")):
            assert "SIGKILL" in part or "command" in part or "gone" in part, part
