"""What ``sweeper show`` prints with ``--json``."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.execution.state.status import Status
from sweeper.findings.findings import Verdict


class ShownRun(Record):
    """A run: how far it is, and what it found; None where that is not there yet."""

    name: str
    status: Status | None
    verdict: Verdict | None
