"""Checks whether a command is running a sweep: by its lock, or elsewhere by ``Status.beat``.

A lock on a shared folder may not reach other machines, and their clocks differ. So the check
watches ``status.json``, which a command writes once a second, for a few seconds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeper.errors import RunError
from sweeper.execution.state.status import ENDED, Status
from sweeper.runfolder import RunFolder

# Five beats: a command may be busy for a second or two, and a shared folder may lag.
WATCH_SECONDS = 5.0
_POLL_SECONDS = 0.2


def run_now(runs: Iterable[RunFolder]) -> set[Path]:
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
    lost = {run.path for run in unfinished} - run_now(unfinished)
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
