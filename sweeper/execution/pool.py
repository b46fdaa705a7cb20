"""Local worker processes: started, heard, restarted, stopped. Knows nothing about trials."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sweeper.execution.bench import STORAGE_VARIABLE
from sweeper.execution.events import Event
from sweeper.execution.oom_killer import OomKills
from sweeper.execution.owner import owner_of
from sweeper.execution.placement import GPUS
from sweeper.execution.strikes import Strikes
from sweeper.runfolder import RunFolder

_NEAR_END_SECONDS = 0.02


@dataclass
class Process:
    """One running worker."""

    name: str
    popen: subprocess.Popen[bytes]
    owner: str
    log: Path
    pending: bytes = b""
    silent: bool = False


@dataclass(frozen=True)
class Ended:
    """A worker process that is gone.

    ``asked`` if it was told to stop or had nothing left; ``out_of_memory`` if the system killed it
    for its memory.
    """

    name: str
    owner: str
    status: int
    asked: bool
    out_of_memory: bool = False

    def __str__(self) -> str:
        if self.out_of_memory:
            return f"the system killed worker {self.name} because memory ran out"
        if self.status < 0:
            return f"worker {self.name} was killed by {signal.Signals(-self.status).name}"
        return f"worker {self.name} ended with status {self.status}"


@dataclass
class Pool:
    """The workers of one command.

    Args:
        size: How many.
        placed: What each worker gets in its environment: threads, GPUs.
    """

    run: RunFolder
    storage_url: str
    backend: str
    size: int
    placed: Sequence[Mapping[str, str]] = ()
    processes: list[Process] = field(default_factory=list)
    strikes: Strikes = field(default_factory=Strikes)
    oom_kills: OomKills = field(default_factory=OomKills)
    stopping: bool = False

    def start(self) -> None:
        """Start workers until there are as many as there should be."""
        taken = {process.name for process in self.processes}
        for name in map(str, range(self.size)):
            if name not in taken:
                self.launch(name)

    def launch(self, name: str) -> Process:
        """Start one worker of that name."""
        log = log_of(self.run, name)
        command = [sys.executable, "-m", "sweeper.execution.worker"]
        command += ["--run", str(self.run.path.resolve()), "--backend", self.backend]
        command += ["--worker-id", name, "--parent", str(os.getpid())]
        with log.open("ab") as file:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=self._environment(name),
                start_new_session=True,  # Ctrl-C reaches the command alone, which tells workers
            )
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)
        process = Process(name, popen, owner_of(popen.pid), log)
        self.processes.append(process)
        return process

    def _environment(self, name: str) -> dict[str, str]:
        placed = dict(self.placed[int(name)]) if self.placed else {}
        # GPUs were chosen among those that the user left visible; thread counts are the user's.
        chosen = {key: placed[key] for key in placed if key == GPUS}
        fixed = {STORAGE_VARIABLE: self.storage_url, "PYTHONUNBUFFERED": "1"}
        return {**placed, **os.environ, **chosen, **fixed}

    def poll(self, seconds: float) -> Iterator[Event | Ended]:
        """What workers said or did within that time; each end comes after its last words."""
        self._wait(seconds)
        self.oom_kills.look()
        for process in list(self.processes):
            status = _status(process.popen)
            yield from self._heard(process)
            if status is not None:
                yield self._ended(process, status)

    def _wait(self, seconds: float) -> None:
        speaking = [process for process in self.processes if not process.silent]
        if len(speaking) < len(self.processes):  # one closed its pipe: its end is near
            seconds = min(seconds, _NEAR_END_SECONDS)
        with selectors.DefaultSelector() as selector:
            for process in speaking:
                assert process.popen.stdout is not None
                selector.register(process.popen.stdout, selectors.EVENT_READ)
            if speaking:
                selector.select(seconds)
            else:
                time.sleep(seconds)

    def _heard(self, process: Process) -> Iterator[Event]:
        assert process.popen.stdout is not None
        while chunk := _read(process.popen.stdout.fileno()):
            process.pending += chunk
        process.silent = chunk is not None
        *lines, process.pending = process.pending.split(b"\n")
        for line in lines:
            event = _parse(line)
            if event is not None:
                self.strikes.hear(process.name, event)
                yield event

    def _ended(self, process: Process, status: int) -> Ended:
        assert process.popen.stdout is not None
        process.popen.stdout.close()
        self.processes.remove(process)
        asked = self.stopping or status == 0
        starved = not asked and status == -signal.SIGKILL and self.oom_kills.was_one()
        self.strikes.ended(process.name, asked=asked, starved=starved)
        return Ended(process.name, process.owner, status, asked, starved)

    def broken(self) -> bool:
        """Whether workers end so fast that starting more is no use."""
        return self.strikes.out()

    def ask_to_stop(self) -> None:
        """Tell every worker to put its work back and end."""
        self.stopping = True
        for process in self.processes:
            os.kill(process.popen.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End every worker at once, and what it has started."""
        self.stopping = True
        for process in self.processes:
            _end_group(process.popen.pid)

    def last_words(self, name: str, lines: int = 5) -> str:
        """The last lines of a worker's log."""
        return last_lines(log_of(self.run, name), lines)


def log_of(run: RunFolder, name: str) -> Path:
    """Where a worker's libraries write what they have to say."""
    return run.path / f"worker-{name}.log"


def last_lines(log: Path, lines: int) -> str:
    """The last lines of a log that are not empty."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


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
    with contextlib.suppress(PermissionError):  # what macOS says where all of it has ended
        os.killpg(leader, signal.SIGKILL)


def _read(handle: int) -> bytes | None:
    # Nothing to read now is None; the end of the pipe is empty.
    try:
        return os.read(handle, 65536)
    except BlockingIOError:
        return None


def _parse(line: bytes) -> Event | None:
    try:
        return Event.model_validate_json(line)
    except ValidationError:
        return None  # the half line of a worker that was killed while it wrote
