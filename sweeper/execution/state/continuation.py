"""Whether a command may run a sweep: no other command runs it, and its identity is the same.

A lock on a shared folder may not be seen by other machines, and their clocks differ. So a command
counts up in ``status.json`` once a second (``Status.beat``), and others watch it for a few seconds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeper.errors import Problem, RunError
from sweeper.execution.state.status import ENDED, Status
from sweeper.plans import Identity, Plan
from sweeper.runfolder import RunFolder, read_stored

# Five beats: a command may be busy for a second or two, and a shared folder may lag behind.
WATCH_SECONDS = 5.0
_POLL_SECONDS = 0.2


def running_folders(runs: Iterable[RunFolder]) -> set[Path]:
    """The folders of the runs that a command is running now.

    Returns at once, unless a run may belong to another machine.
    """
    running, uncertain = set(), {}
    for run in runs:
        if run.held:
            running.add(run.path)
        elif (status := _status_from_another_host(run)) is not None:
            uncertain[run] = status.beat
    return running | _with_changing_beat(uncertain)


def statuses(runs: Iterable[RunFolder]) -> dict[Path, Status]:
    """The status of each started run, by folder; ``interrupted`` if its command is gone."""
    read = {run: status for run in runs if (status := Status.read_or_none(run.status))}
    unfinished = [run for run, status in read.items() if status.phase not in ENDED]
    lost = {run.path for run in unfinished} - running_folders(unfinished)
    ended = {"phase": "interrupted", "running": (), "eta": None}
    return {
        run.path: status.model_copy(update=ended) if run.path in lost else status
        for run, status in read.items()
    }


def refuse_if_running(run: RunFolder) -> None:
    """Check that no command on another machine runs this sweep; the caller holds its lock.

    Raises:
        RunError: A command on another machine runs it.
    """
    status = _status_from_another_host(run)
    if status is None or not _with_changing_beat({run: status.beat}):
        return
    raise RunError(
        f"a sweeper command on {status.host} is running this sweep (process {status.process})",
        why="Two commands on one run folder would overwrite each other's files.",
        fix="Stop it there, or choose another --name.",
        where=str(run.path),
    )


def _status_from_another_host(run: RunFolder) -> Status | None:
    status = Status.read_or_none(run.status)
    if status is None or status.process is None or status.host in ("", socket.gethostname()):
        return None
    return status


def _with_changing_beat(beats: Mapping[RunFolder, int]) -> set[Path]:
    """The folders of the runs whose ``beat`` changes within a few seconds."""
    unchanged, changed = dict(beats), set()
    limit = time.monotonic() + WATCH_SECONDS
    while unchanged and time.monotonic() < limit:
        time.sleep(_POLL_SECONDS)
        for run, beat in list(unchanged.items()):
            status = _status_from_another_host(run)
            if status is None:  # it has ended
                del unchanged[run]
            elif status.beat != beat:
                changed.add(run.path)
                del unchanged[run]
    return changed


# What each part of an identity says, as an error names it.
_MEANINGS = {
    "model": "the base model or its revision",
    "data": "the data set (its rows, further rows or weights of sources)",
    "task": "the task",
    "split": "how the rows are split",
    "space": "the strategies, their search space or options of features",
    "objective": "what validation measures",
    "rungs": "the full budget of a trial or its rungs",
    "seed": "the seed",
}


def changes(stored: Identity, fresh: Identity) -> list[str]:
    """Names of the parts in which two identities differ."""
    core_changes = [name for name in _MEANINGS if getattr(stored, name) != getattr(fresh, name)]
    names = sorted(stored.features.keys() | fresh.features.keys())
    changed_features = [
        name for name in names if stored.features.get(name) != fresh.features.get(name)
    ]
    return [*core_changes, *(f"features.{name}" for name in changed_features)]


def plan_to_run(run: RunFolder, fresh: Plan) -> Plan:
    """The stored plan with this command's time budget, else the new plan.

    Args:
        run: The folder of the run; the caller holds its lock, and has written nothing yet.
        fresh: The new plan of this command.

    Raises:
        OtherVersion: The run was made by another version of sweeper.
        RunError: The run has another identity, its plan cannot be run, or a command on
            another machine runs it.
    """
    refuse_if_running(run)
    if fresh.identity is None:
        raise RunError(
            "this plan cannot be run",
            why="It was made for a model size or a number of examples, not for a model and data.",
            fix="Name a model (--model) and a data set (--data).",
        )
    if not run.plan.exists():
        return fresh
    plan = read_stored(Plan, run.plan)
    if plan.identity is None:
        raise RunError("the run folder holds a plan that cannot be run", where=str(run.plan))
    changed_parts = changes(plan.identity, fresh.identity)
    if changed_parts:
        raise RunError([_change_problem(run, name) for name in changed_parts])
    limit = {"limit_seconds": fresh.budget.limit_seconds}  # a later command may have another budget
    return plan.model_copy(update={"budget": plan.budget.model_copy(update=limit)})


def _change_problem(run: RunFolder, name: str) -> Problem:
    return Problem(
        f"{_MEANINGS.get(name, f'what {name} uses')} changed since this run began",
        why="Its trials would not be comparable with those that are there.",
        fix="Give --new to start over (the old run is kept, renamed), choose another --name, or "
        "undo the change.",
        where=str(run.path),
    )
