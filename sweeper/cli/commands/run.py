"""``sweeper run``: plan, search, confirm, score the test split once, report; can resume.

The command's process plans, watches and writes reports; workers train.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import takes_spec
from sweeper.views.console import LogFormat, ProgressMode
from sweeper.yamlfile import KeyPath

if TYPE_CHECKING:
    from sweeper.steps.sweep import Ended

ORDER = 20
commands = typer.Typer()

BACKEND = "sweeper.training.torch_backend:make"


@commands.command("run")
@takes_spec(run=True)
def run(
    flags: dict[KeyPath, Any],
    spec_file: Annotated[
        Path | None, typer.Argument(help="A sweep.yaml.", metavar="[SWEEP.YAML]")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run: runs/NAME.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start a new run; an old one of this name is renamed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Let each strategy train a few steps before the plan is made. This is the default "
            "on a GPU; each set-up is measured once.",
        ),
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under",
            help="Exit with 5 if the test score of the recommended trial is below this: 0.8 for an "
            "accuracy of 80%.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    progress: Annotated[
        ProgressMode, typer.Option("--progress", help="auto, plain or none.")
    ] = "auto",
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="text, or jsonl on stderr.")
    ] = "text",
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Errors and the last lines only.")
    ] = False,
    backend: Annotated[str, typer.Option("--backend", hidden=True)] = BACKEND,
) -> None:
    """Run the sweep: fine-tune trials, prune them on validation loss, and write a report.

    --trials is the study's total: the same command again resumes the run and adds no trials.
    Without --model it trains nothing, and prints the command with the model that suits data and
    machine best.
    """
    from sweeper.execution.interruption import leaving_on_signals
    from sweeper.packages import RUNS, require

    require("sweeper run", RUNS)
    with leaving_on_signals():
        from sweeper.specfile import resolve
        from sweeper.steps import sweep as steps
        from sweeper.views import plan_view
        from sweeper.views.console import say, say_nothing
        from sweeper.views.progress import progress as make_progress
        from sweeper.views.work_progress import work_progress

        if name is not None:
            flags[("name",)] = name
        spec = resolve(flags, spec_file, needs_model=False)
        if not spec.models:
            command = shlex.join(["sweeper", *sys.argv[1:]])
            raise steps.without_model(spec, lambda model: f"{command} --model {model}")
        prepared = steps.prepare(
            spec,
            check_model=backend == BACKEND,
            file=spec_file,
            new=new,
            probe=probe,
            tell=say_nothing if quiet else say,
            work=work_progress(progress, log_format, quiet=quiet),
        )
        steps.check_fail_under(prepared.plan, fail_under)
        if dry_run:
            plan_view.show(prepared.plan)
            return
        view = make_progress(
            progress, log_format, quiet=quiet, plan=prepared.plan, run=prepared.folder
        )
        ended = steps.sweep(prepared, new=new, backend=backend, view=view, tell=say)
        conclude(ended, as_json=as_json, fail_under=fail_under)


def conclude(ended: Ended, *, as_json: bool, fail_under: float | None) -> None:
    """Print the verdict, and exit with the documented code unless all went well."""
    from sweeper.steps.sweep import check_results
    from sweeper.views.console import say

    outcome = ended.outcome
    if outcome.signal is not None:
        try:
            _print_result(ended, as_json=as_json)
            command = f"sweeper run {shlex.quote(str(ended.folder.spec))}"
            say(f"Interrupted. Resume with: {command}")
        except OSError:  # the terminal is closed; later writes must not fail
            for stream in (sys.stdout, sys.stderr):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise typer.Exit(outcome.exit_code)
    _print_result(ended, as_json=as_json)
    check_results(ended, fail_under)


def _print_result(ended: Ended, *, as_json: bool) -> None:
    from sweeper.findings.words import sentence
    from sweeper.views.console import show_line
    from sweeper.views.verdict_view import verdict_lines

    if as_json:
        typer.echo(ended.report.findings.to_json(), nl=False)
        return
    findings, is_done = ended.report.findings, ended.outcome.signal is None
    lines = [
        *verdict_lines(findings, findings.next_step if is_done else None, ended.report.because),
        f"{sentence(findings.run.search_ended)}." if findings.run.search_ended else "",
        f"report: {ended.folder.report_html}",
    ]
    for line in filter(None, lines):
        show_line(line)
