"""The next step of a run whose findings are older than its status."""

from __future__ import annotations

import shlex

from sweeper.execution.state.status import Status
from sweeper.findings.findings import Findings, NextStep
from sweeper.findings.verdict.next_step import next_step


def step_now(findings: Findings, place: str, status: Status) -> NextStep | None:
    """The next step, if the command was killed or the folder moved after the findings were written.

    Args:
        place: The run's folder, as a command names it now.
        status: Status of the ended run, maybe with another number of trials.
    """
    last_status, step = findings.run.status, findings.next_step
    update = {
        "place": place,
        "status": status.phase if last_status == "running" else last_status,
        "trials_asked": status.trials,
        "complete": status.complete,
        "pruned": status.pruned,
        "failed": status.failed,
    }
    advice = []
    if step is not None and last_status == "complete":
        command = step.command.replace(shlex.quote(findings.run.place), shlex.quote(place))
        advice = [step.model_copy(update={"command": command})]
    run = findings.run.model_copy(update=update)
    return next_step(findings.model_copy(update={"run": run}), advice)
