"""Local worker processes: started, heard, restarted, stopped. Knows nothing about trials."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from sweeper.execution.bench import STORAGE_VARIABLE
from sweeper.execution.events import Event
from sweeper.execution.owner import owner_of
from sweeper.runfolder import RunFolder

# Workers that end one after the other without a single rung or result: the machine or the
# installation is broken, and starting more would go on for ever. Three in a row that never came
# to claim anything, or the attempts of three whole trials.
STRIKES_ALLOWED = 9
_STRIKES_UNCLAIMED, _STRIKES_CLAIMED = 3, 1

_NEAR_END_SECONDS = 0.02
_PROGRESS = ("rung", "trial-ended", "job-ended", "baseline")


@dataclass
class Process:
    """One running worker."""

    name: str
    popen: subprocess.Popen[bytes]
    owner: str
    log: Path
    pending: bytes = b""
    silent: bool = False
    fruitful: bool = False
    claimed: bool = False


@dataclass(frozen=True)
class Ended:
    """A worker process that is gone. ``asked`` if it was told to stop or had nothing left."""

    name: str
    owner: str
    status: int
    asked: bool

    def __str__(self) -> str:
        if self.status < 0:
            return f"worker {self.name} was killed by {signal.Signals(-self.status).name}"
        return f"worker {self.name} ended with status {self.status}"


@dataclass
class Pool:
    """The workers of one command."""

    run: RunFolder
    storage_url: str
    backend: str
    size: int
    processes: list[Process] = field(default_factory=list)
    strikes: int = 0
    stopping: bool = False

    def start(self) -> None:
        """Start workers until there are as many as there should be."""
        taken = {process.name for process in self.processes}
        for name in map(str, range(self.size)):
            if name not in taken:
                self.processes.append(self._launch(name))

    def _launch(self, name: str) -> Process:
        log = self.run.path / f"worker-{name}.log"
        command = [sys.executable, "-m", "sweeper.execution.worker"]
        command += ["--run", str(self.run.path), "--backend", self.backend]
        command += ["--worker-id", name, "--parent", str(os.getpid())]
        with log.open("ab") as file:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C reaches the command alone, which tells workers
            )
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)
        return Process(name, popen, owner_of(popen.pid), log)

    def _environment(self) -> dict[str, str]:
        set_unless_given = quiet_threads(max(1, (os.cpu_count() or 1) // self.size))
        fixed = {STORAGE_VARIABLE: self.storage_url, "PYTHONUNBUFFERED": "1"}
        return {**set_unless_given, **os.environ, **fixed}

    def poll(self, seconds: float) -> Iterator[Event | Ended]:
        """What workers said or did within that time; each end comes after its last words."""
        self._wait(seconds)
        for process in list(self.processes):
            status = process.popen.poll()
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
                process.fruitful |= event.kind in _PROGRESS
                process.claimed |= event.kind in ("trial-started", "job-started")
                yield event

    def _ended(self, process: Process, status: int) -> Ended:
        assert process.popen.stdout is not None
        process.popen.stdout.close()
        self.processes.remove(process)
        asked = self.stopping or status == 0
        if process.fruitful or asked:
            self.strikes = 0
        else:
            self.strikes += _STRIKES_CLAIMED if process.claimed else _STRIKES_UNCLAIMED
        return Ended(process.name, process.owner, status, asked)

    def broken(self) -> bool:
        """Whether workers end so fast that starting more is no use."""
        return self.strikes >= STRIKES_ALLOWED

    def ask_to_stop(self) -> None:
        """Tell every worker to put its work back and end."""
        self.stopping = True
        for process in self.processes:
            process.popen.terminate()

    def kill(self) -> None:
        """End every worker at once."""
        self.stopping = True
        for process in self.processes:
            process.popen.kill()

    def last_words(self, name: str, lines: int = 5) -> str:
        """The last lines of a worker's log."""
        log = self.run.path / f"worker-{name}.log"
        if not log.exists():
            return ""
        text = log.read_text(encoding="utf-8", errors="replace")
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def quiet_threads(threads: int | None) -> dict[str, str]:
    """The environment of a process that trains beside others, to be set before torch is loaded.

    Threads wait without spinning: two torch processes at default threads on two cores slow small
    operations fifty-fold (measured).
    """
    count = str(threads or os.cpu_count() or 1)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


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
