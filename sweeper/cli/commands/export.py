"""``sweeper export``: a trial as a configuration for another trainer, or as a model to serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[str, typer.Argument(help="Name or folder of a run.")],
    to: Annotated[
        str,
        typer.Option("--to", help="axolotl, llama-factory, litgpt, trl or unsloth."),
    ],
    trial: Annotated[
        int | None, typer.Option("--trial", help="This trial; the winner if not given.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder; RUN/exports/TO if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the recommended configuration and its rows for another trainer.

    Settings that the trainer does not take over are listed. What it cannot express is refused.
    """
    import json

    from sweeper.cli.commands import refit_steps
    from sweeper.cli.commands.report import find_run
    from sweeper.cli.views.console import out
    from sweeper.exporting.configuration import export_configuration
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder

    folder = RunFolder(find_run(run))
    findings = compute(folder)
    number = refit_steps.recommended_trial(findings, folder) if trial is None else trial
    config = refit_steps.as_trained(folder, number)
    place = output or folder.path / "exports" / to
    made = export_configuration(folder, findings, config, to, place)
    if as_json:
        lost = [vars(one) for one in made.lost]
        fields = {"folder": str(made.folder), "trial": number, "command": made.command}
        typer.echo(json.dumps({**fields, "not_taken_over": lost}))
        return
    out().print(f"trial {number} for {to}: {made.folder}", markup=False, soft_wrap=True)
    for one in made.lost:
        out().print(f"  not taken over: {one}", markup=False, soft_wrap=True)
    out().print(f"train: cd {made.folder} && {made.command}", markup=False, soft_wrap=True)
