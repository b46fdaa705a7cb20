"""Whether a command runs a sweep now: by the lock on this machine, else by ``beat``.

A lock of a shared folder need not reach other machines, and clocks of machines differ. So whoever
asks looks for a few seconds whether ``status.json``, which a command writes once a second, goes on
to change.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeper.errors import RunError
from sweeper.execution.state.status import ENDED, Status
from sweeper.runfolder import RunFolder

# Five beats: a command may be busy for a second or two, and a shared folder shows a file late.
WATCH_SECONDS = 5.0
_LOOK_SECONDS = 0.2


def run_now(runs: Iterable[RunFolder]) -> set[Path]:
    """The folders of those runs that a command runs at this moment.

    Returns at once, unless a run may belong to another machine.
    """
    held, doubtful = set(), {}
    for run in runs:
        if run.held:
            held.add(run.path)
        elif (status := _of_another_host(run)) is not None:
            doubtful[run] = status.beat
    return held | _go_on(doubtful)


def statuses(runs: Iterable[RunFolder]) -> dict[Path, Status]:
    """The status of each run that was started; without its command a run is interrupted."""
    read = {run: status for run in runs if (status := Status.read_or_none(run.status))}
    begun = [run for run, status in read.items() if status.phase not in ENDED]
    lost = {run.path for run in begun} - run_now(begun)
    ended = {"phase": "interrupted", "running": (), "eta": None}
    return {
        run.path: status.model_copy(update=ended) if run.path in lost else status
        for run, status in read.items()
    }


def refuse_second(run: RunFolder) -> None:
    """Check that no command on another machine runs this sweep; to be called with its lock held.

    Raises:
        RunError: One does.
    """
    status = _of_another_host(run)
    if status is None or not _go_on({run: status.beat}):
        return
    raise RunError(
        f"a sweeper command on {status.host} is running this sweep (process {status.process})",
        why="Two commands on one run folder would overwrite each other's files.",
        fix="Stop it there, or choose another --name.",
        where=str(run.path),
    )


def _of_another_host(run: RunFolder) -> Status | None:
    status = Status.read_or_none(run.status)
    if status is None or status.process is None or status.host in ("", socket.gethostname()):
        return None
    return status


def _go_on(beats: Mapping[RunFolder, int]) -> set[Path]:
    """The folders of the runs whose ``beat`` changes within a few seconds."""
    still, changed = dict(beats), set()
    limit = time.monotonic() + WATCH_SECONDS
    while still and time.monotonic() < limit:
        time.sleep(_LOOK_SECONDS)
        for run, beat in list(still.items()):
            status = _of_another_host(run)
            if status is None:  # it has ended
                del still[run]
            elif status.beat != beat:
                changed.add(run.path)
                del still[run]
    return changed
