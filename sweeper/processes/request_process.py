"""A process that loads torch, does one request and tells how far it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeper.artifact import Artifact
from sweeper.child_process import start
from sweeper.errors import Problem, SweeperError, UsageError
from sweeper.execution.interruption import Signals, counted_signals
from sweeper.jsontext import object_of
from sweeper.views.work_progress import WorkProgress, told

_LOOK_SECONDS = 0.2

Hear = Callable[[dict[str, Any]], None]


def ask(
    module: str,
    request: Artifact,
    log: Path,
    work: WorkProgress,
    hear: Hear = lambda _event: None,
    fix: str = "",
) -> int | None:
    """Let a module do a request to its end.

    Args:
        module: Run with ``python -m`` and the number of this process, with which it ends; reads
            the request on its standard input.
        hear: Is given what else it says.
        fix: What a user does if the process broke; where there is such, the log is named, too.

    Returns:
        The signal that ended it, or None if it is done.

    Raises:
        SweeperError: The request cannot be done, or the process broke.
    """
    problems: list[Problem] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as errors, counted_signals() as signals:
        process = start(module, str(os.getpid()), threads=None, stderr=errors, text=True)
        with process:
            threading.Thread(target=_end_with, args=(process, signals), daemon=True).start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it ended at once; its exit code says more
                process.stdin.write(request.to_json())
                process.stdin.close()
            for line in process.stdout:
                if (state := told(line)) is not None:
                    work(*state)
                    continue
                try:
                    event = object_of(line)
                except ValueError:
                    continue  # what a library printed
                work.close()  # a line that is redrawn would be written over
                if event.get("event") == "failed":
                    problems = [Problem(**fields) for fields in event["problems"]]
                else:
                    hear(event)
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
            fix=fix,
            where=str(log) if fix else "",  # other logs may lie in a folder that goes
        )
    return None


def _end_with(process: subprocess.Popen[str], signals: Signals) -> None:
    """A signal to the command alone ends the process as well."""
    while process.poll() is None:
        if signals.count:
            process.terminate()
            return
        time.sleep(_LOOK_SECONDS)
