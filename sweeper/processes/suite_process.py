"""The process that scores models on a suite: started, listened to, ended with the command.

Knows processes and signals; knows nothing of runs or of what scores mean.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from sweeper.errors import Problem, SweeperError, UsageError
from sweeper.execution.interruption import Signals
from sweeper.findings import words
from sweeper.jsontext import object_of
from sweeper.suite.scores import EvaluationRequest
from sweeper.views.console import Tell
from sweeper.views.work_progress import Hidden, WorkProgress, told

WORKER = "sweeper.suite.evaluate"
_LOOK_SECONDS = 0.2


def score(request: EvaluationRequest, tell: Tell, work: WorkProgress | None = None) -> int | None:
    """Score what has not been scored yet.

    Args:
        tell: Told a line at each task's beginning and end.
        work: Shows how far a task is; nothing if None.

    Returns:
        The signal that ended it, or None if it is done.

    Raises:
        SweeperError: The models or tasks cannot be used, or the process broke.
    """
    log = Path(request.folder) / "evaluate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    with log.open("w", encoding="utf-8") as errors, Signals() as signals:
        command = [sys.executable, "-m", WORKER]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        with process:
            threading.Thread(target=end_with, args=(process, signals), daemon=True).start()
            problems = _follow(process, request, tell, work or Hidden())
        if signals.number is not None:
            return signals.number
    code = process.returncode
    if problems:
        raise _error(problems, code)
    if code != 0:
        raise SweeperError(
            f"the evaluating process ended with {code}",
            why=_last_line(log),
            fix="What it had scored is kept: the same command goes on from there.",
            where=str(log),
        )
    return None


def end_with(process: subprocess.Popen[str], signals: Signals) -> None:
    """A signal to the command alone ends the process as well."""
    while process.poll() is None:
        if signals.count:
            process.terminate()
            return
        time.sleep(_LOOK_SECONDS)


def _follow(
    process: subprocess.Popen[str], request: EvaluationRequest, tell: Tell, work: WorkProgress
) -> list[Problem]:
    """Hand the request over and pass on what is said, until the process ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once; its exit code says more
        process.stdin.write(request.to_json())
        process.stdin.close()
    problems: list[Problem] = []
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
        elif event.get("event") == "started":
            items = "" if event["items"] is None else f", {event['items']} items"
            tell(f"scoring {event['model']} on {event['task']}{items}")
        elif event.get("event") == "scored":
            items = words.plural(event["items"], "item")
            tell(f"scored {event['model']} on {event['task']}: {items}, {event['seconds']} s")
    work.close()
    return problems


def _error(problems: list[Problem], code: int) -> SweeperError:
    return UsageError(problems) if code == UsageError.exit_code else SweeperError(problems)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
