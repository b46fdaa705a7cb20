"""How ``sweeper run`` ends: the last lines, and the exit code."""

from __future__ import annotations

import os
import shlex
import sys

import typer

from sweeper.findings.evidence.rules import rules_told
from sweeper.findings.record import DataNeed
from sweeper.findings.verdict.costs import cost_line
from sweeper.findings.verdict.next_step import next_step_line
from sweeper.findings.words import sentence
from sweeper.reporting.sections.predicted import predicted_line
from sweeper.steps.run import Ended, check_results
from sweeper.views.console import err, out


def conclude(ended: Ended, *, as_json: bool, fail_under: float | None) -> None:
    """Print the verdict and leave with the documented exit code."""
    outcome = ended.outcome
    if outcome.signal is not None:
        try:
            _print_result(ended, as_json=as_json)
            command = f"sweeper run {shlex.quote(str(ended.folder.spec))}"
            err().print(f"Interrupted. Resume with: {command}", markup=False, soft_wrap=True)
        except OSError:  # the terminal is gone; nothing may try to write to it once more
            for stream in (sys.stdout, sys.stderr):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise typer.Exit(outcome.exit_code)
    _print_result(ended, as_json=as_json)
    check_results(ended, fail_under)


def _print_result(ended: Ended, *, as_json: bool) -> None:
    if as_json:
        typer.echo(ended.findings.to_json(), nl=False)
        return
    console = out()
    console.print(ended.findings.verdict.sentence, markup=False, soft_wrap=True)
    if why := ended.findings.run.search_ended:
        console.print(f"{sentence(why)}.", markup=False, soft_wrap=True)
    if isinstance(need := ended.findings.data_need, DataNeed):
        console.print(need.sentence, markup=False, soft_wrap=True)
    if costs := cost_line(ended.findings):
        console.print(costs, markup=False, soft_wrap=True)
    line = predicted_line(ended.findings.predictions)
    if line and ended.outcome.signal is None:
        console.print(line, markup=False, soft_wrap=True)
    if rules := rules_told(ended.findings.rules):
        console.print(f"Rules: {rules}.", markup=False, soft_wrap=True)
    if (step := ended.findings.next_step) is not None and ended.outcome.signal is None:
        console.print(next_step_line(step), markup=False, soft_wrap=True)
        if step.command:
            console.print(f"  {step.command}", markup=False, soft_wrap=True)
    if outlook := ended.findings.run.outlook:
        console.print(f"{sentence(outlook)}.", markup=False, soft_wrap=True)
    console.print(f"report: {ended.folder.report_html}", markup=False, soft_wrap=True)
