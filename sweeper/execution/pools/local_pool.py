"""Workers as processes of this machine, over pipes."""

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

from pydantic import ValidationError

from sweeper.child_process import GPU_SETTINGS, GPU_SHARE, start_child
from sweeper.execution.job import Briefing, Message, Order, WorkerRequest, line_of, read_message
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage
from sweeper.facts.machine.detect_hardware import VISIBLE
from sweeper.runfolder import RunFolder

# A killed process may take a while to give its memory back before its parent hears of its end;
# what was counted longer ago was somebody else's.
REMEMBERED_SECONDS = 60.0
_NEAR_END_SECONDS = 0.02
WORKER = "sweeper.execution.worker.process:work"
# Lines of a worker's log that an error quotes.
_LOG_LINES = 5
# What bitsandbytes writes before it ends the process where the GPU's memory runs out.
_BITSANDBYTES = re.compile(r"^Error out of memory at line \d+ in file ", re.MULTILINE)
# Something that a worker started may hold its pipe open: its end is looked for all the same.
_LOOK_SECONDS = 0.2


def counter_file(groups: str | None = None, mounted: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """The file that counts kills among this process and those that it starts; None without one.

    A control group's own counter where there is one (``memory.events`` of cgroup v2,
    ``memory.oom_control`` of v1; kernel.org, admin-guide/cgroup-v2 and cgroup-v1/memory), else
    that of the whole machine, ``/proc/vmstat``.

    Args:
        groups: Text of ``/proc/self/cgroup``; read if None.
        mounted: Where control groups are mounted.
    """
    if groups is None:
        groups = _text(Path("/proc/self/cgroup"))
    places = [*_places(groups, mounted), Path("/proc/vmstat")]
    return next((file for file in places if kills_in(file) is not None), None)


def _places(groups: str, mounted: Path) -> Iterator[Path]:
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        # Within a container the path may be the host's: its own group is then what is mounted.
        for own in (path.strip("/"), ""):
            if not controllers:
                yield mounted / own / "memory.events"
            elif "memory" in controllers.split(","):
                yield mounted / "memory" / own / "memory.oom_control"


def kills_in(file: Path) -> int | None:
    """The number of kills in a counter file; None if it has none."""
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
    """Counted kills that are not yet matched to a process.

    Args:
        place: The counter; None where there is none, which then never says anything.
    """

    place: Path | None = field(default_factory=lambda: counter_file())
    clock: Callable[[], float] = time.monotonic
    _counted: int | None = None
    _open: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.look()

    def look(self) -> None:
        """Read the counter. Call it often, so that the time of a rise is known."""
        counted = None if self.place is None else kills_in(self.place)
        if counted is None:
            return
        now = self.clock()
        rise = counted - (counted if self._counted is None else self._counted)
        self._open = [at for at in self._open if now - at < REMEMBERED_SECONDS]
        self._open += [now] * rise
        self._counted = counted

    def was_one(self) -> bool:
        """Whether a process that was just killed may have been killed for its memory."""
        self.look()
        killed = bool(self._open)
        del self._open[:1]
        return killed


@dataclass
class Process:
    """One running worker, the pipe to it and the pipe from it."""

    popen: subprocess.Popen[bytes]
    pending: bytes = b""
    silent: bool = False

    @property
    def orders(self) -> int:
        assert self.popen.stdin is not None
        return self.popen.stdin.fileno()

    @property
    def messages(self) -> int:
        assert self.popen.stdout is not None
        return self.popen.stdout.fileno()


@dataclass
class LocalPool:
    """A ``Pool`` of processes.

    Args:
        placed: What each worker gets in its environment (threads, GPUs): one worker an entry.
        first: Number of the first worker, which is its name; the others count on from it.
    """

    run: RunFolder
    briefing: Briefing
    placed: Sequence[Mapping[str, str]]
    first: int = 0
    oom_kills: OomKills = field(default_factory=OomKills)
    _processes: dict[str, Process] = field(default_factory=dict)
    _ready: selectors.DefaultSelector = field(default_factory=selectors.DefaultSelector)
    _looked: float = 0.0

    @property
    def size(self) -> int:
        return len(self.placed)

    @property
    def workers(self) -> Collection[str]:
        return self._processes.keys()

    def start(self, count: int) -> None:
        names = map(str, range(self.first, self.first + self.size))
        free = [name for name in names if name not in self._processes]
        for name in free[: max(0, count - len(self._processes))]:
            self._add(name, self._launch(name))

    def _add(self, name: str, process: Process) -> None:
        os.set_blocking(process.messages, False)
        self._processes[name] = process
        self._ready.register(process.messages, selectors.EVENT_READ)

    def _launch(self, name: str) -> Process:
        run = str(self.run.path.resolve())
        request = WorkerRequest.taken_from(self.briefing, run=run, worker=name)
        with log_of(self.run, name).open("ab") as log:
            popen = start_child(
                WORKER,
                request,
                shown=(run, name),
                env=self._environment(name),
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches the command alone, which tells workers
            )
        return Process(popen)

    def _environment(self, name: str) -> dict[str, str]:
        placed = dict(self.placed[int(name) - self.first])
        # GPUs were chosen among those that the user left visible; thread counts are the user's.
        chosen = {key: placed[key] for key in placed if key in (VISIBLE, GPU_SHARE)}
        return {**GPU_SETTINGS, **placed, **os.environ, **chosen, "PYTHONUNBUFFERED": "1"}

    def fileno(self) -> int:
        """A handle that becomes readable when a worker has sent a message."""
        return self._ready.fileno()

    def send(self, worker: str, order: Order) -> None:
        if worker in self._processes:
            _write(self._processes[worker].orders, line_of(order))

    def poll(self, seconds: float) -> Iterator[WorkerMessage | WorkerGone]:
        speaking = self._wait(seconds)
        self.oom_kills.look()
        clock = time.monotonic()
        everybody = clock - self._looked > _LOOK_SECONDS
        self._looked = clock if everybody else self._looked
        for name, process in list(self._processes.items()):
            if not (everybody or process.silent or process.messages in speaking):
                continue
            status = _status(process.popen)
            for message in self._heard(process):
                yield WorkerMessage(name, message)
            if status is not None:
                yield self._gone(name, process, status)

    def _wait(self, seconds: float) -> set[int]:
        if any(process.silent for process in self._processes.values()):
            seconds = min(seconds, _NEAR_END_SECONDS)  # one closed its pipe: its end is near
        if not self._ready.get_map():
            time.sleep(seconds)
            return set()
        return {key.fd for key, _ in self._ready.select(seconds)}

    def _heard(self, process: Process) -> Iterator[Message]:
        if process.silent:
            return
        while chunk := _read(process.messages):
            process.pending += chunk
        if chunk is not None:
            process.silent = True
            self._ready.unregister(process.messages)
        *lines, process.pending = process.pending.split(b"\n")
        for line in lines:
            # The half line of a worker that was killed while it wrote says nothing.
            with contextlib.suppress(ValidationError):
                yield read_message(line)

    def _gone(self, name: str, process: Process, status: int) -> WorkerGone:
        if not process.silent:
            self._ready.unregister(process.messages)
        for pipe in (process.popen.stdin, process.popen.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        del self._processes[name]
        if status == 1:
            starved = _BITSANDBYTES.search(self.log(name)) is not None
        else:
            starved = status == -signal.SIGKILL and self.oom_kills.was_one()
        return WorkerGone(name, status, starved)

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
            for _ in self.poll(_NEAR_END_SECONDS):
                pass
        self._ready.close()


def log_of(run: RunFolder, worker: str) -> Path:
    """The log file of a worker's libraries."""
    return run.path / f"worker-{worker}.log"


def last_lines(log: Path) -> str:
    """The last lines of a log that are not empty."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-_LOG_LINES:])


def _status(popen: subprocess.Popen[bytes]) -> int | None:
    """How a worker ended, once it has; None while it runs.

    What it had started ends with it: a worker that trains on several GPUs has a process on each.
    Until it is reaped, here and nowhere else, no other process can have its number.
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
    # Nothing to read now is None; the end of the pipe is empty.
    try:
        return os.read(handle, 65536)
    except BlockingIOError:
        return None
