"""What ``sweeper show`` prints with ``--json``."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.execution.state.status import Status
from sweeper.findings.findings import Verdict


class ShownRun(Record):
    """Status and verdict of a run; None before there is one."""

    name: str
    status: Status | None
    verdict: Verdict | None
