from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from curve_backend import make_plan

from sweeper.execution.run_progress import RunProgress
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Event
from sweeper.plans import PhaseCost
from sweeper.runfolder import RunFolder
from sweeper.search.study_end import GAINS, Ending
from sweeper.trials import TrialResult


@pytest.fixture
def progress(tmp_path: Path) -> RunProgress:
    plan = make_plan(4)
    return RunProgress(RunState(RunFolder(tmp_path), plan), total=4)


def event(kind: str, **fields: object) -> Event:
    return Event.model_validate({"kind": kind, "at": "t", "worker": "0", **fields})


def test_status_shows_what_a_worker_is_busy_with_until_it_ends(progress: RunProgress) -> None:
    progress.update(event("trial-started", trial=2, attempt=1, strategy="lora", rungs=8))
    progress.update(event("rung", trial=2, rung=3, validation_loss=0.5, median_here=0.6))
    (running,) = progress.status().running
    assert (running.trial, running.rung, running.validation_loss) == (2, 3, 0.5)
    assert running.median_here == 0.6
    assert progress.status().waiting == 3
    progress.update(event("worker-ended"))
    assert progress.status().running == ()
    assert progress.status().waiting == 4
    assert progress.status().eta is None


@pytest.mark.parametrize(
    "kind", ["trial-ended", "trial-put-back", "job-ended", "job-put-back", "worker-ended"]
)
def test_whatever_ends_frees_its_worker(progress: RunProgress, kind: str) -> None:
    progress.update(event("job-started", job="trial-1", trial=1))
    assert progress.status().running[0].job == "trial-1"
    assert progress.waiting == 4  # a score of a trial is no trial
    progress.update(event(kind))
    assert progress.status().running == ()


def test_work_without_rungs_is_shown_until_the_next_rung(progress: RunProgress) -> None:
    progress.update(event("progress", text="x", done=1, of=2))  # of a worker that is not busy
    progress.update(event("trial-started", trial=0))
    progress.update(event("progress", text="tokenising", done=1, of=2))
    (running,) = progress.status().running
    assert (running.text, running.done, running.of) == ("tokenising", 1, 2)
    progress.update(event("rung", trial=0, rung=1, validation_loss=1.0))
    (running,) = progress.status().running
    assert (running.text, running.done, running.rung) == ("", None, 1)


def test_a_status_says_who_runs_it_and_that_it_lives(progress: RunProgress) -> None:
    first, second = progress.status(), progress.status()
    assert (first.host, first.process) == (socket.gethostname(), os.getpid())
    assert second.beat > first.beat
    last = progress.status(ended=True)
    assert (last.process, last.running, last.eta) == (None, (), None)
    assert last.ended_at


def test_a_call_that_found_nothing_to_do_does_not_make_a_run_longer(progress: RunProgress) -> None:
    progress.earlier_seconds = 100.0
    assert progress.status(ended=True).seconds == 100.0
    progress.update(event("trial-started", trial=0))
    assert progress.status(ended=True).seconds >= 100.0


def test_nothing_waits_once_the_search_has_ended(progress: RunProgress) -> None:
    progress.ending = Ending(kind="target", because="x", total=4)
    assert progress.status().waiting == 0


def test_ended_trials_are_counted(progress: RunProgress) -> None:
    result = TrialResult(number=0, attempt=1, seed=0, state="PRUNED")
    first = progress.plan.candidates[0]
    config: Any = SimpleNamespace(
        number=0, strategy=first.strategy, model=first.model, budget=progress.plan.budget,
        origin="search", parameters={},
    )  # fmt: skip
    progress.state.configs[0] = config
    progress.state.results[0] = result
    status = progress.status()
    assert (status.pruned, status.done, status.waiting) == (1, 1, 3)


def test_after_five_trials_a_status_says_what_more_may_bring(progress: RunProgress) -> None:
    for number in range(5):
        assert progress.status().outlook is None
        result = TrialResult(
            number=number,
            attempt=1,
            seed=0,
            state="COMPLETE",
            validation_loss=1.0 - number / 100,
            optimizer_steps=8,
            training_seconds=4.0,
        )
        first, budget = progress.plan.candidates[0], progress.plan.budget
        whole = SimpleNamespace(rungs=budget.rungs, epochs=budget.epochs)
        config: Any = SimpleNamespace(
            number=number, strategy=first.strategy, model=first.model, budget=whole,
            origin="search", parameters={},
        )  # fmt: skip
        progress.state.configs[number] = config
        progress.state.results[number] = result
    found = progress.status().outlook
    assert found is not None
    assert found.gain == pytest.approx(GAINS[5] * 0.96)


@pytest.mark.parametrize(
    ("timeout", "limit"), [(95.0, "of the budget"), (50.0, "until the time limit")]
)
def test_what_stops_a_phase_is_the_budget_or_the_time_limit(
    tmp_path: Path, timeout: float, limit: str
) -> None:
    cost = PhaseCost(title="extra", seconds=10, optional=True)
    update = {"limit_seconds": 100.0, "features": {"extra": cost}}
    plan = make_plan(4)
    plan = plan.model_copy(update={"budget": plan.budget.model_copy(update=update)})
    progress = RunProgress(RunState(RunFolder(tmp_path), plan), total=4)
    decided = progress.decide_phase("extra", 200.0, time.monotonic() + timeout)
    assert not decided.made
    assert f"s were left {limit}" in decided.text
