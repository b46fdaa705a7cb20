"""What to do with the winner: the next step where nothing else would help more."""

from __future__ import annotations

import shlex

from sweeper.features.parts import Heading
from sweeper.findings.findings import Findings, NextStep

HEADING = Heading(145, "prediction", "Use")


def advise(figures: None, findings: Findings) -> NextStep:
    """The command that asks the winner, after what other sections advise."""
    command = f'sweeper predict {shlex.quote(findings.run.place)} "a text"'
    return NextStep(kind="use", command=command)
