"""Advises how to use the winner, if no other section advises a next step."""

from __future__ import annotations

import shlex

from sweeper.features.parts import Heading
from sweeper.findings.findings import Findings, NextStep

HEADING = Heading(145, "prediction", "Use")


def advise(figures: None, findings: Findings) -> NextStep:
    """The command for predictions of the winner."""
    command = f'sweeper predict {shlex.quote(findings.run.place)} "a text"'
    return NextStep(kind="use", command=command)
