"""Runs a command and keeps count of the CPU seconds of all processes that come of it.

Linux only: processes that lose their parent come back to this one, so that none is missed. Knows
nothing of what runs.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_EVERY = 0.5
# How long background processes of a contender may take to end after it.
_PATIENCE = 20.0


@dataclass
class Watched:
    """CPU seconds of a process tree over the clock.

    Args:
        began: Unix time at which it was started.
        times: Unix times of the samples, rising.
        cpu: CPU seconds used until then.
        returned: Exit code.
        ended: Unix time at which the command ended.
        own: CPU seconds of each process, by its number and start, as last seen.
    """

    began: float
    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    returned: int = 0
    ended: float = 0.0
    own: dict[tuple[int, float], float] = field(default_factory=dict)

    def cpu_at(self, when: float) -> float:
        """CPU seconds used until a Unix time, between two samples in proportion."""
        place = bisect.bisect_left(self.times, when)
        if place == 0:
            return self.cpu[0]
        if place == len(self.times):
            return self.cpu[-1]
        before, after = self.times[place - 1], self.times[place]
        share = (when - before) / (after - before)
        return self.cpu[place - 1] + share * (self.cpu[place] - self.cpu[place - 1])


def watch(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> Watched:
    """Run a command to its end, and end what it leaves running.

    Args:
        command: What to run.
        environment: All of it.
        folder: Where to run it.
        log: Takes what it prints.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _reaped()
    with log.open("w", encoding="utf-8") as said:
        watched = Watched(time.time())
        process = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                _sample(watched, before)
                _reap_orphans(process.pid)
                time.sleep(_EVERY)
        finally:  # an interrupted benchmark leaves nothing running
            process.terminate()
            process.wait()
        watched.returned, watched.ended = process.returncode, time.time()
    _end_the_rest()
    _sample(watched, before)
    return watched


def _reaped() -> float:
    """CPU seconds of children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(watched: Watched, before: float) -> None:
    """Two counts, of which the larger is taken: what processes and those that told them of their
    end have used, and what was last seen of each process. The first misses the children of those
    that never ask for it, as Ray's daemon; the second what lives shorter than a sample apart."""
    told = _reaped() - before
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times, known = process.cpu_times(), (process.pid, process.create_time())
            own = times.user + times.system
            watched.own[known] = own
            told += own + times.children_user + times.children_system
    watched.cpu.append(max([told, sum(watched.own.values()), *watched.cpu[-1:]]))
    watched.times.append(time.time())


def _reap_orphans(main: int) -> None:
    """Take leave of ended processes that came back, but for the command's own."""
    for process in psutil.Process().children():
        with suppress(psutil.Error, ChildProcessError):
            if process.pid != main and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, 0)


def _end_the_rest() -> None:
    until = time.time() + _PATIENCE
    while psutil.Process().children() and time.time() < until:
        _reap_orphans(0)
        time.sleep(_EVERY)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    while psutil.Process().children():
        _reap_orphans(0)
        time.sleep(_EVERY)
