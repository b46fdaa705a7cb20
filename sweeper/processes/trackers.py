"""The processes that log a run to MLflow, Weights & Biases or TensorBoard: started, heard, ended.

The run waits for none of them: they read the run's folder, and have a limited time at its end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from sweeper.child_process import start
from sweeper.errors import NotInstalled
from sweeper.execution.state.events import Event, make_event
from sweeper.execution.state.status import Status
from sweeper.extras import TRACKERS, install_command, missing
from sweeper.runfolder import RunFolder

# What is logged when a run has ended, its report included, takes a second or two.
END_SECONDS = 10.0
_MODULE = "sweeper.tracking"

Show = Callable[[Event, Status], None]


def require_trackers(names: Sequence[str]) -> None:
    """Check that the clients of trackers are installed, without loading any.

    Raises:
        NotInstalled: Some are not; all of them are named.
    """
    problems = [
        problem
        for name in dict.fromkeys(names)
        for problem in missing(f"--track {name}", [TRACKERS[name]], install_command(name))
    ]
    if problems:
        raise NotInstalled(problems)


class Trackers:
    """One process for each tracker of a run, so that a slow service holds up no other."""

    def __init__(self, folder: RunFolder, names: Sequence[str]):
        self._folder = folder
        self._notes: list[str] = []
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in dict.fromkeys(names):
            try:
                self._processes[name] = _start(name, folder)
            except OSError as error:
                self._notes.append(f"nothing is logged to {name}: {error}")

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish("failed")

    def beside(self, show: Show) -> Show:
        """A view that also shows what the trackers say."""

        def both(event: Event, status: Status) -> None:
            show(event, status)
            for text in self.heard():
                show(make_event("warning", text=text), status)

        return both

    def heard(self) -> Iterator[str]:
        """What the trackers have said since the last call. Returns at once."""
        yield from self._notes
        self._notes.clear()
        for name, process in self._processes.items():
            for line in _said(process):
                yield (
                    f"{name} does not answer at the moment ({line}). The sweep continues; the "
                    "rest is logged later"
                )

    def finish(self, state: str, seconds: float = END_SECONDS) -> list[str]:
        """Have the rest logged, and end the processes, which have ``seconds`` together for it.

        Returns:
            What the user should know.
        """
        notes, self._notes = self._notes, []
        processes, self._processes = self._processes, {}
        for process in processes.values():
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it is gone
                process.stdin.write(f"{state}\n".encode())
                process.stdin.close()
        limit = time.monotonic() + seconds
        try:
            for name, process in processes.items():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, limit - time.monotonic()))
                if why := _lacking(process, seconds):
                    log = self._folder.tracking / f"{name}.log"
                    notes.append(
                        f"{name} does not hold all of this run: {why}. The same command again logs "
                        f"the rest. Details are in {log}"
                    )
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
        return notes


def _lacking(process: subprocess.Popen[bytes], seconds: float) -> str:
    """Why a service does not hold all of a run; empty where it does."""
    status = process.poll()
    if status == 0:
        return ""
    if status is None:
        return f"it took longer than {seconds:g} s"
    return [f"it ended with {status}", *_said(process)][-1]


def _start(name: str, folder: RunFolder) -> subprocess.Popen[bytes]:
    process = start(
        _MODULE,
        *(name, str(folder.path), "--parent", str(os.getpid())),
        stderr=subprocess.DEVNULL,  # it has a log of its own
        bufsize=0,
        start_new_session=True,  # Ctrl-C reaches the command alone
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return process


def _said(process: subprocess.Popen[bytes]) -> list[str]:
    """Lines that are there already. A line is short, and written in one piece."""
    assert process.stdout is not None
    text = process.stdout.read(65536)
    return text.decode(errors="replace").splitlines() if text else []
