"""Runs programs that a model wrote against their tests, behind walls or not at all.

Knows processes and limits. Knows nothing of models or of how programs came about.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sweeper.errors import RunError, UsageError
from sweeper.evaluation import sandbox

Result = Literal["passed", "failed", "timeout", "memory", "crash"]
_RESULTS = get_args(Result)
# The program's own time is bounded within its process; this is for a process that hangs even so.
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        seconds: Of wall clock, and of CPU time to the next whole second.
        memory_mib: Address space.
        file_mib: Written to its own empty folder, which is gone afterwards.
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
    """Run a program, then its tests, in a process without network and without files to harm.

    Args:
        program: Python source.
        tests: Python source that raises where the program is wrong.
        permitted: Whether the user explicitly allowed to run code that nobody has read.
        limits: Of this run.

    Raises:
        UsageError: It was not permitted.
        RunError: This machine cannot cut the program off from network and files; nothing was run.
    """
    if not permitted:
        raise UsageError(
            "running code that a model wrote needs permission",
            why="Such code was read by nobody; it runs with limits, but it runs on this machine.",
            fix="Allow it explicitly, or leave pass@k out.",
        )
    bounds = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="sweeper-program-") as folder:
        lines = _lines(
            {
                "folder": folder,
                "parts": [program, *tests],
                "memory_mib": bounds.memory_mib,
                "seconds": bounds.seconds,
                "file_mib": bounds.file_mib,
            },
            bounds.seconds,
        )
    return _outcome(lines)


def can_isolate() -> str | None:
    """None if this machine can run programs behind walls, else why it cannot."""
    try:
        run_program("", (), permitted=True)
    except RunError as error:
        return error.problems[0].why
    return None


def _outcome(lines: list[dict[str, str]]) -> Outcome:
    said = {line["outcome"]: line["detail"] for line in lines}
    if "isolated" not in said:
        raise RunError(
            "this machine cannot run unread code safely, so it was not run",
            why=said.get("refused", "the isolated process did not start"),
            fix="It takes Linux 5.12 or newer with user namespaces allowed. Leave pass@k out, or "
            "run it where that is the case.",
        )
    for result in _RESULTS:
        if result in said:
            return Outcome(result, said[result])
    return Outcome("crash", "the process ended without a word")


def _lines(request: dict[str, object], seconds: float) -> list[dict[str, str]]:
    """What the isolated process said before it ended or its time was over."""
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-S", "-B", str(Path(sandbox.__file__)), str(writing)]
    with os.fdopen(reading, encoding="utf-8") as channel:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        os.close(writing)
        late = False
        try:
            process.communicate(json.dumps(request).encode(), timeout=seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines = [json.loads(line) for line in channel]
    if late:
        lines.append({"outcome": "timeout", "detail": f"not done after {seconds:g} s"})
    return lines
