"""A process that loads torch, does one request and tells how far it is.

Knows processes and signals; knows nothing of what is asked.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from sweeper.artifact import Artifact
from sweeper.child_process import quiet_threads
from sweeper.errors import Problem, SweeperError, UsageError
from sweeper.execution.interruption import Signals
from sweeper.jsontext import object_of
from sweeper.processes.suite_process import end_with
from sweeper.views.work_progress import WorkProgress, told


def ask(module: str, request: Artifact, log: Path, work: WorkProgress) -> int | None:
    """Let a module do a request to its end.

    Args:
        module: Run with ``python -m`` and the number of this process, with which it ends; reads
            the request on its standard input.
        log: Takes its standard error.
        work: Shows how far it is.

    Returns:
        The signal that ended it, or None if it is done.

    Raises:
        SweeperError: The request cannot be done, or the process broke.
    """
    problems: list[Problem] = []
    with log.open("w", encoding="utf-8") as errors, Signals() as signals:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **quiet_threads(None)},
        )
        with process:
            threading.Thread(target=end_with, args=(process, signals), daemon=True).start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request.to_json())
                process.stdin.close()
            for line in process.stdout:
                if (state := told(line)) is not None:
                    work(*state)
                    continue
                with contextlib.suppress(ValueError):  # what a library printed
                    problems += [Problem(**fields) for fields in object_of(line)["problems"]]
        work.close()
        if signals.number is not None:
            return signals.number
    if problems:
        kind = UsageError if process.returncode == UsageError.exit_code else SweeperError
        raise kind(problems)
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SweeperError(
            f"the process of {module} ended with {process.returncode}",
            why=lines[-1][:300] if lines else "",
        )
    return None
