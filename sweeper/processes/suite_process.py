"""Scores models on a suite: the process that does it, and what it says in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweeper.findings import words
from sweeper.processes import request_process
from sweeper.suite.scores import EvaluationRequest
from sweeper.views.console import Tell
from sweeper.views.work_progress import Hidden, WorkProgress

WORKER = "sweeper.suite.evaluate"


def score(request: EvaluationRequest, tell: Tell, work: WorkProgress | None = None) -> int | None:
    """Score what has not been scored yet.

    Args:
        tell: Called with a line at each task's beginning and end.
        work: Shows how far a task is; nothing if None.

    Returns:
        The signal that ended it, or None if it is done.

    Raises:
        SweeperError: The models or tasks cannot be used, or the process broke.
    """

    def hear(event: dict[str, Any]) -> None:
        if event.get("event") == "started":
            items = "" if event["items"] is None else f", {event['items']} items"
            tell(f"scoring {event['model']} on {event['task']}{items}")
        elif event.get("event") == "scored":
            items = words.plural(event["items"], "item")
            tell(f"scored {event['model']} on {event['task']}: {items}, {event['seconds']} s")

    log = Path(request.folder) / "evaluate.log"
    fix = "What it had scored is kept: the same command continues from there."
    return request_process.ask(WORKER, request, log, work or Hidden(), hear, fix)
