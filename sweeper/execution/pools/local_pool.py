"""Workers as processes of this machine, over pipes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sweeper.execution.job import Message, Order, line_of, read_message
from sweeper.execution.pools.oom_killer import OomKills
from sweeper.execution.pools.placement import GPUS
from sweeper.execution.pools.pool import Said, WorkerGone
from sweeper.execution.worker.run_check import Briefing
from sweeper.runfolder import RunFolder

_NEAR_END_SECONDS = 0.02
# Lines of a worker's log that an error quotes.
_LOG_LINES = 5
# Something that a worker started may hold its pipe open: its end is looked for all the same.
_LOOK_SECONDS = 0.2


@dataclass
class Process:
    """One running worker, the pipe to it and the pipe from it."""

    popen: subprocess.Popen[bytes]
    pending: bytes = b""
    silent: bool = False

    @property
    def orders(self) -> int:
        """Takes lines of orders."""
        assert self.popen.stdin is not None
        return self.popen.stdin.fileno()

    @property
    def messages(self) -> int:
        """Yields lines of messages."""
        assert self.popen.stdout is not None
        return self.popen.stdout.fileno()


@dataclass
class LocalPool:
    """A ``Pool`` of processes.

    Args:
        run: The run's folder; logs lie in it.
        briefing: What each worker is told first.
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
        command = [sys.executable, "-m", "sweeper.execution.worker"]
        command += ["--run", str(self.run.path.resolve())]
        command += ["--worker-id", name, "--parent", str(os.getpid())]
        with log_of(self.run, name).open("ab") as log:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(name),
                start_new_session=True,  # Ctrl-C reaches the command alone, which tells workers
            )
        process = Process(popen)
        _write(process.orders, self.briefing.model_dump_json().encode() + b"\n")
        return process

    def _environment(self, name: str) -> dict[str, str]:
        placed = dict(self.placed[int(name) - self.first])
        # GPUs were chosen among those that the user left visible; thread counts are the user's.
        chosen = {key: placed[key] for key in placed if key == GPUS}
        return {**placed, **os.environ, **chosen, "PYTHONUNBUFFERED": "1"}

    def fileno(self) -> int:
        """A handle that becomes readable when a worker has sent a message."""
        return self._ready.fileno()

    def send(self, worker: str, order: Order) -> None:
        if worker in self._processes:
            _write(self._processes[worker].orders, line_of(order))

    def poll(self, seconds: float) -> Iterator[Said | WorkerGone]:
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
                yield Said(name, message)
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
