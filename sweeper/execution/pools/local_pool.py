"""A pool of processes on this machine, connected by pipes."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.child_process import GPU_SHARE, Child, start_child, torch_settings
from sweeper.execution.job import Briefing, Order, WorkerRequest, line_of, read_message
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage, last_log_lines, log_of
from sweeper.facts.machine.hardware import VISIBLE
from sweeper.runfolder import RunFolder

# A worker that is killed within this time after a counted out-of-memory kill was the process that
# the system killed: it had to release its memory before it ended. Older kills hit other processes.
OOM_KILL_MATCH_SECONDS = 60.0
# Interval at which processes that are ending are polled.
_EXIT_POLL_SECONDS = 0.02
WORKER = "sweeper.execution.worker.process:work"
# bitsandbytes writes this before it ends the process when the GPU's memory runs out.
_BITSANDBYTES = re.compile(r"^Error out of memory at line \d+ in file ", re.MULTILINE)


def oom_counter(groups: str | None = None, mounted: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts out-of-memory kills of this process and its children, if any.

    It is the control group's counter if there is one (``memory.events`` of cgroup v2,
    ``memory.oom_control`` of v1; kernel.org, admin-guide/cgroup-v2 and cgroup-v1/memory), otherwise
    that of the machine, ``/proc/vmstat``.

    Args:
        groups: Text of ``/proc/self/cgroup``; read if None.
        mounted: Where control groups are mounted.
    """
    if groups is None:
        groups = _text_or_empty(Path("/proc/self/cgroup"))
    counters = [*_counters(groups, mounted), Path("/proc/vmstat")]
    return next((file for file in counters if oom_kills_in(file) is not None), None)


def _counters(groups: str, mounted: Path) -> Iterator[Path]:
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        # In a container the path may be that on the host; the container's group is then mounted as
        # the root, which is tried second.
        for group in (path.strip("/"), ""):
            if not controllers:
                yield mounted / group / "memory.events"
            elif "memory" in controllers.split(","):
                yield mounted / "memory" / group / "memory.oom_control"


def oom_kills_in(file: Path) -> int | None:
    """The number of out-of-memory kills in a counter file; None if it has none."""
    for line in _text_or_empty(file).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _text_or_empty(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass
class OomKills:
    """Counted out-of-memory kills that are not yet matched to a process.

    Args:
        counter: The counter file; if None, no kill is ever recognised.
    """

    counter: Path | None = field(default_factory=lambda: oom_counter())
    clock: Callable[[], float] = time.monotonic
    _counted: int | None = None
    _unmatched: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.update()

    def update(self) -> None:
        """Read the counter. Call it often, so that the time of a rise is known."""
        counted = None if self.counter is None else oom_kills_in(self.counter)
        if counted is None:
            return
        now = self.clock()
        rise = counted - (counted if self._counted is None else self._counted)
        self._unmatched = [
            killed_at for killed_at in self._unmatched if now - killed_at < OOM_KILL_MATCH_SECONDS
        ]
        self._unmatched += [now] * rise
        self._counted = counted

    def match_kill(self) -> bool:
        """Whether an unmatched kill explains a process that has just ended. It is then matched."""
        self.update()
        killed = bool(self._unmatched)
        del self._unmatched[:1]
        return killed


@dataclass
class LocalPool:
    """A ``Pool`` of processes.

    Args:
        environments: Environment variables of each worker: its threads and GPUs.
        first: Number and name of the first worker; the others count on from it.
    """

    run: RunFolder
    briefing: Briefing
    environments: Sequence[Mapping[str, str]]
    first: int = 0
    oom_kills: OomKills = field(default_factory=OomKills)
    _children: dict[str, Child] = field(default_factory=dict)
    _selector: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)

    @property
    def workers(self) -> Collection[str]:
        return self._children.keys()

    def start(self, count: int) -> None:
        names = map(str, range(self.first, self.first + len(self.environments)))
        free = [name for name in names if name not in self._children]
        for name in free[: max(0, count - len(self._children))]:
            self._add(name, self._launch(name))

    def _add(self, name: str, child: Child) -> None:
        self._children[name] = child
        self._selector.register(child.fileno(), selectors.EVENT_READ)

    def _launch(self, name: str) -> Child:
        run, log = str(self.run.path.resolve()), log_of(self.run, name)
        request = WorkerRequest.taken_from(self.briefing, run=run, worker=name)
        environment, shown = self._environment(name), (run, name)  # shown in the list of processes
        return start_child(WORKER, request, shown=shown, env=environment, errors=log)

    def _environment(self, name: str) -> dict[str, str]:
        settings = dict(self.environments[int(name) - self.first])
        # The GPUs were chosen among the user's visible GPUs. The user's thread counts win.
        gpus = {key: settings[key] for key in settings if key in (VISIBLE, GPU_SHARE)}
        return {**torch_settings(), **settings, **os.environ, **gpus, "PYTHONUNBUFFERED": "1"}

    def fileno(self) -> int:
        """A handle that becomes readable when a worker has sent a message."""
        return self._selector.fileno()

    def send(self, worker: str, order: Order) -> None:
        if worker in self._children:
            self._children[worker].send(line_of(order))

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        self._wait(seconds)
        self.oom_kills.update()
        for name, child in list(self._children.items()):
            # A process of a worker may hold the worker's pipe open after the worker has ended.
            status, was_closed, lines = child.status(), child.closed, child.lines()
            if not was_closed and (child.closed or status is not None):
                self._selector.unregister(child.fileno())
            for line in lines:
                # Ignore the incomplete line of a worker that was killed while it wrote.
                with contextlib.suppress(ValueError):
                    yield WorkerMessage(name, read_message(line))
            if status is not None:
                yield self._remove(name, child, status)

    def _wait(self, seconds: float) -> None:
        if any(child.closed for child in self._children.values()):
            seconds = min(seconds, _EXIT_POLL_SECONDS)  # a worker closed its pipe and is ending
        if self._selector.get_map():
            self._selector.select(seconds)
        else:
            time.sleep(seconds)

    def _remove(self, name: str, child: Child, status: int) -> WorkerGone:
        child.close()
        del self._children[name]
        if status == 1:
            out_of_memory = _BITSANDBYTES.search(last_log_lines(self.run, name)) is not None
        else:
            out_of_memory = status == -signal.SIGKILL and self.oom_kills.match_kill()
        return WorkerGone(name, status, out_of_memory)

    def kill(self, worker: str | None = None) -> None:
        for name, child in self._children.items():
            if worker in (None, name):
                child.kill()

    def notices(self) -> list[str]:
        return []

    def close(self) -> None:
        self.kill()
        while self._children:
            for _ in self.poll(_EXIT_POLL_SECONDS):
                pass
        self._selector.close()
