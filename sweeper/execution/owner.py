"""Names processes so that a name is never used twice, and tells whether one is still alive.

Knows nothing about what the processes do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path


def owner_of(pid: int) -> str:
    """``host/pid/start``: the start time tells a process from a later one with the same number."""
    return f"{socket.gethostname()}/{pid}/{_started(pid)}"


def _started(pid: int) -> str:
    # Field 22 of /proc/PID/stat, in clock ticks since boot: no clock change moves it. The name of
    # the command stands before it in brackets and may hold spaces.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "0"
    return stat.rpartition(")")[2].split()[19]


def is_local(owner: str) -> bool:
    """Whether the process ran on this machine, so that its end can be seen."""
    return owner.split("/")[0] == socket.gethostname()


def end(owner: str) -> None:
    """Kill a process of this machine that does not answer any more; another one is left alone."""
    if is_alive(owner):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(owner.split("/")[1]), signal.SIGKILL)


def is_alive(owner: str) -> bool:
    """Whether a process of this machine still runs (an ended one that waits for its parent not)."""
    pid = int(owner.split("/")[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return not Path("/proc/self/stat").exists()
    state = stat.rpartition(")")[2].split()[0]
    return owner_of(pid) == owner and state not in ("Z", "X")
