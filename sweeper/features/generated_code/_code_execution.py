"""Runs programs that a model wrote against their tests, in sandboxes or not at all.

The program and its tests run in two sandboxes, joined by pipes (``apart``). The result comes from
the tests' sandbox over a pipe that the program's does not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

from sweeper.errors import Problem, RunError, UsageError
from sweeper.features.generated_code import _apart as apart
from sweeper.features.generated_code import _sandbox as sandbox

Result = Literal["passed", "failed", "timeout", "memory", "crash"]
_RESULTS = get_args(Result)
# A program takes 0.04 s on two cores, and 0.19 s at a load of 7 (measured); this is for a hang.
_START_SECONDS = 30.0
_MOST_BYTES = 1 << 16  # of a result
_TIME_IS_UP = 128 + signal.SIGALRM  # how bubblewrap passes a signal's number on


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        memory_mib: Address space of the program's only process.
        file_mib: Size of its ``/tmp``, which is gone afterwards.
    """

    seconds: float = 10.0
    memory_mib: int = 1024
    file_mib: int = 16


@dataclass(frozen=True)
class Outcome:
    """How one program ended. ``detail`` is one line."""

    result: Result
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.result == "passed"


def run_program(
    program: str, tests: Sequence[str], *, permitted: bool, limits: Limits | None = None
) -> Outcome:
    """Run a program, and its tests against it, without network and without files to harm.

    Args:
        program: Python source; it can use the standard library.
        tests: Python source that raises where the program is wrong.
        permitted: Whether the user explicitly allowed to run code that nobody has read.

    Raises:
        UsageError: It was not permitted.
        RunError: This machine cannot cut the program off from network and files; nothing was run.
    """
    if not permitted:
        raise UsageError(
            "running code that a model wrote needs permission",
            why="Nobody has checked this code. It runs on this machine, with limits.",
            fix="Allow it explicitly, or leave pass@k out.",
        )
    bounds = limits or Limits()
    with tempfile.TemporaryFile() as complaints:
        heard, code = _run_apart(program, tests, bounds, complaints)
        complaints.seek(0)
        complaint = complaints.read(_MOST_BYTES).decode(errors="replace").splitlines()
    said = dict(_results(heard))
    if "ready" not in said:
        raise RunError(
            "code that a model wrote cannot be run safely here, so it was not run",
            why=complaint[-1]
            if complaint
            else f"The sandbox did not start within {_START_SECONDS:g} s.",
            fix=sandbox.INSTALL,
        )
    for result in _RESULTS:
        if result in said:
            return Outcome(result, said[result])
    if code in (None, _TIME_IS_UP):
        return Outcome("timeout", f"not done after {bounds.seconds:g} s")
    return Outcome("crash", "the tests ended without a result")


def can_isolate() -> Problem | None:
    """None if this machine can run programs in a sandbox, else why not and what to install."""
    try:
        run_program("", (), permitted=True)
    except RunError as error:
        return error.problems[0]
    return None


def _results(heard: bytes) -> list[tuple[str, str]]:
    results = []
    for line in heard.splitlines():
        try:
            said = json.loads(line)
            results.append((str(said["result"]), str(said["detail"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return results


def _run_apart(
    program: str, tests: Sequence[str], limits: Limits, complaints: IO[bytes]
) -> tuple[bytes, int | None]:
    """What the tests' sandbox printed, and its exit status; None if it had to be killed."""
    asked = {"program": program, "tests": list(tests), "seconds": limits.seconds}
    with tempfile.TemporaryFile() as request, contextlib.ExitStack() as cleanup:
        request.write(json.dumps(asked).encode())
        request.seek(0)
        # Closed here once both sides have their ends, so that each hears when the other is gone.
        with contextlib.ExitStack() as ends:
            calls, answers = _pipe(ends), _pipe(ends)
            nothing = subprocess.DEVNULL
            _start(cleanup, "program", (calls[0], answers[1]), limits, nothing, nothing, complaints)
            tested = _start(
                cleanup,
                "tests",
                (answers[0], calls[1]),
                limits,
                request,
                subprocess.PIPE,
                complaints,
            )
        assert tested.stdout is not None
        with tested.stdout:
            in_time, heard = _read(tested.stdout.fileno(), limits.seconds + _START_SECONDS)
        if not in_time:
            return heard, None
        return heard, tested.wait()


def _pipe(ends: contextlib.ExitStack) -> tuple[int, int]:
    pair = os.pipe()
    for end in pair:
        ends.callback(os.close, end)
    return pair


def _start(
    cleanup: contextlib.ExitStack,
    side: str,
    ends: tuple[int, int],
    limits: Limits,
    stdin: IO[bytes] | int,
    stdout: int,
    complaints: IO[bytes],
) -> subprocess.Popen[bytes]:
    """Start one side in a sandbox of its own, which ``cleanup`` ends."""
    allowed = sandbox.system_call_filter()
    reading, writing = os.pipe()
    try:
        os.write(writing, allowed)  # far less than a pipe holds
        os.close(writing)
        sizes = (limits.memory_mib, limits.file_mib)
        command = sandbox.command(
            Path(apart.__file__),
            [side, *map(str, (*ends, *sizes))],
            tmp_bytes=limits.file_mib << 20,
            filter_fd=reading,
        )
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=complaints,
            pass_fds=(*ends, reading),
            env=sandbox.ENVIRONMENT,
        )
    finally:
        os.close(reading)
    cleanup.callback(process.wait)
    cleanup.callback(process.kill)
    return process


def _read(pipe: int, seconds: float) -> tuple[bool, bytes]:
    """Whether the pipe was closed in time, and what it held."""
    deadline, heard = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(heard) < _MOST_BYTES and selector.select(deadline - time.monotonic()):
            chunk = os.read(pipe, _MOST_BYTES)
            if not chunk:
                return True, heard
            heard += chunk
    return False, heard
