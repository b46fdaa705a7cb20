"""A pool of processes on this machine, connected by pipes."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.child_process import GPU_SHARE, start_child, torch_settings
from sweeper.execution.job import Briefing, Message, Order, WorkerRequest, line_of, read_message
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage
from sweeper.facts.machine.detect_hardware import VISIBLE
from sweeper.runfolder import RunFolder

# A worker that ends within this time after an OOM kill was the killed process: it had to release
# its memory before it ended. An older kill hit another process.
OOM_KILL_MATCH_SECONDS = 60.0
_EXIT_POLL_SECONDS = 0.02
WORKER = "sweeper.execution.worker.process:work"
# Lines of a worker's log that an error quotes.
_LOG_LINES = 5
# bitsandbytes writes this before it ends the process when the GPU's memory runs out.
_BITSANDBYTES = re.compile(r"^Error out of memory at line \d+ in file ", re.MULTILINE)
# A child of a worker may hold the worker's pipe open after the worker has ended, so exit statuses
# are polled this often, too.
_STATUS_POLL_SECONDS = 0.2


def oom_counter(groups: str | None = None, mounted: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts out-of-memory kills of this process and its children, if any.

    It is the control group's counter if there is one (``memory.events`` of cgroup v2,
    ``memory.oom_control`` of v1; kernel.org, admin-guide/cgroup-v2 and cgroup-v1/memory), else
    the machine's, ``/proc/vmstat``.

    Args:
        groups: Text of ``/proc/self/cgroup``; read if None.
        mounted: Where control groups are mounted.
    """
    if groups is None:
        groups = _text(Path("/proc/self/cgroup"))
    counters = [*_counters(groups, mounted), Path("/proc/vmstat")]
    return next((file for file in counters if oom_kills_in(file) is not None), None)


def _counters(groups: str, mounted: Path) -> Iterator[Path]:
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        # In a container the path may be the host's; then the mounted group is the container's.
        for group in (path.strip("/"), ""):
            if not controllers:
                yield mounted / group / "memory.events"
            elif "memory" in controllers.split(","):
                yield mounted / "memory" / group / "memory.oom_control"


def oom_kills_in(file: Path) -> int | None:
    """The number of out-of-memory kills in a counter file; None if it has none."""
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _text(file: Path) -> str:
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
        self.look()

    def look(self) -> None:
        """Read the counter. Call it often, so that the time of a rise is known."""
        counted = None if self.counter is None else oom_kills_in(self.counter)
        if counted is None:
            return
        now = self.clock()
        rise = counted - (counted if self._counted is None else self._counted)
        self._unmatched = [at for at in self._unmatched if now - at < OOM_KILL_MATCH_SECONDS]
        self._unmatched += [now] * rise
        self._counted = counted

    def match_kill(self) -> bool:
        """Whether a counted kill explains a just killed process; uses the kill up."""
        self.look()
        killed = bool(self._unmatched)
        del self._unmatched[:1]
        return killed


@dataclass
class Process:
    """One running worker, the pipe to it and the pipe from it."""

    popen: subprocess.Popen[bytes]
    pending: bytes = b""
    pipe_closed: bool = False

    @property
    def orders_fd(self) -> int:
        assert self.popen.stdin is not None
        return self.popen.stdin.fileno()

    @property
    def messages_fd(self) -> int:
        assert self.popen.stdout is not None
        return self.popen.stdout.fileno()


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
    _processes: dict[str, Process] = field(default_factory=dict)
    _ready: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)
    _last_status_poll: float = 0.0

    @property
    def size(self) -> int:
        return len(self.environments)

    @property
    def workers(self) -> Collection[str]:
        return self._processes.keys()

    def start(self, count: int) -> None:
        names = map(str, range(self.first, self.first + self.size))
        free = [name for name in names if name not in self._processes]
        for name in free[: max(0, count - len(self._processes))]:
            self._add(name, self._launch(name))

    def _add(self, name: str, process: Process) -> None:
        os.set_blocking(process.messages_fd, False)
        self._processes[name] = process
        self._ready.register(process.messages_fd, selectors.EVENT_READ)

    def _launch(self, name: str) -> Process:
        run = str(self.run.path.resolve())
        request = WorkerRequest.taken_from(self.briefing, run=run, worker=name)
        with log_of(self.run, name).open("ab") as log:
            popen = start_child(
                WORKER,
                request,
                shown=(run, name),  # in the list of processes
                env=self._environment(name),
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches the command alone, which tells workers
            )
        return Process(popen)

    def _environment(self, name: str) -> dict[str, str]:
        own = dict(self.environments[int(name) - self.first])
        # GPUs were chosen among the user's visible ones; the user's thread counts take precedence.
        gpus = {key: own[key] for key in own if key in (VISIBLE, GPU_SHARE)}
        return {**torch_settings(), **own, **os.environ, **gpus, "PYTHONUNBUFFERED": "1"}

    def fileno(self) -> int:
        """A handle that becomes readable when a worker has sent a message."""
        return self._ready.fileno()

    def send(self, worker: str, order: Order) -> None:
        if worker in self._processes:
            _write(self._processes[worker].orders_fd, line_of(order))

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        readable = self._wait(seconds)
        self.oom_kills.look()
        clock = time.monotonic()
        poll_all = clock - self._last_status_poll > _STATUS_POLL_SECONDS
        self._last_status_poll = clock if poll_all else self._last_status_poll
        for name, process in list(self._processes.items()):
            if not (poll_all or process.pipe_closed or process.messages_fd in readable):
                continue
            status = _status(process.popen)
            for message in self._messages_from(process):
                yield WorkerMessage(name, message)
            if status is not None:
                yield self._gone(name, process, status)

    def _wait(self, seconds: float) -> set[int]:
        if any(process.pipe_closed for process in self._processes.values()):
            seconds = min(seconds, _EXIT_POLL_SECONDS)  # a worker closed its pipe and is ending
        if not self._ready.get_map():
            time.sleep(seconds)
            return set()
        return {key.fd for key, _ in self._ready.select(seconds)}

    def _messages_from(self, process: Process) -> Iterator[Message]:
        if process.pipe_closed:
            return
        while chunk := _read(process.messages_fd):
            process.pending += chunk
        if chunk is not None:
            process.pipe_closed = True
            self._ready.unregister(process.messages_fd)
        *lines, process.pending = process.pending.split(b"\n")
        for line in lines:
            # Ignore the incomplete line of a worker that was killed while it wrote.
            with contextlib.suppress(ValueError):
                yield read_message(line)

    def _gone(self, name: str, process: Process, status: int) -> WorkerGone:
        if not process.pipe_closed:
            self._ready.unregister(process.messages_fd)
        for pipe in (process.popen.stdin, process.popen.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        del self._processes[name]
        if status == 1:
            out_of_memory = _BITSANDBYTES.search(self.log(name)) is not None
        else:
            out_of_memory = status == -signal.SIGKILL and self.oom_kills.match_kill()
        return WorkerGone(name, status, out_of_memory)

    def kill(self, worker: str | None = None) -> None:
        for name, process in self._processes.items():
            if worker in (None, name):
                _end_group(process.popen.pid)

    def notices(self) -> list[str]:
        return []

    def log(self, worker: str) -> str:
        return last_lines(log_of(self.run, worker))

    def close(self) -> None:
        self.kill()
        while self._processes:
            for _ in self.poll(_EXIT_POLL_SECONDS):
                pass
        self._ready.close()


def log_of(run: RunFolder, worker: str) -> Path:
    """The log file of a worker's libraries."""
    return run.path / f"worker-{worker}.log"


def last_lines(log: Path) -> str:
    """The last non-empty lines of a log."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LOG_LINES:])


def _status(popen: subprocess.Popen[bytes]) -> int | None:
    """The exit status of a worker that has ended; None while it runs.

    Its child processes are ended too: a worker that trains on several GPUs has a process on each.
    The worker is reaped only here; until then no other process can get its process ID.
    """
    if hasattr(os, "waitid"):  # not on macOS before Python 3.13
        if os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _end_group(popen.pid)
    return popen.poll()


def _end_group(leader: int) -> None:
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _write(handle: int, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        while line:
            line = line[os.write(handle, line) :]


def _read(handle: int) -> bytes | None:
    # None if there is nothing to read now; empty at the end of the pipe.
    try:
        return os.read(handle, 65536)
    except BlockingIOError:
        return None
