"""``sweeper export``: a trial as a model to serve, or as a configuration for another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import AsJson, Quiet, RunName, TrialNumber

if TYPE_CHECKING:
    from sweeper.runfolder import RunFolder

ORDER = 70
commands = typer.Typer()


@commands.command("export")
def export(
    run: RunName,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Weights: model (as they are), merged (an adapter merged into its base), peft "
            "(for PEFT alone). Configuration and rows: axolotl, litgpt, llama-factory, trl, "
            "unsloth.",
        ),
    ],
    trial: TrialNumber = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new folder; RUN/exports/TO if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the winner as a model to serve, or its configuration and rows for another trainer.

    Settings that a trainer does not support are listed. A trial that it cannot train is refused;
    the error names the best trial that it can train.
    """
    import json

    from sweeper.exporting.configuration import WEIGHTS
    from sweeper.findings.compute import compute
    from sweeper.runfolder import RunFolder
    from sweeper.steps.winner import best_trial
    from sweeper.views.console import show_line

    folder = RunFolder.find(run)
    number = best_trial(compute(folder)) if trial is None else trial
    place = output or folder.path / "exports" / to
    if to in WEIGHTS:
        made, lines = export_weights(folder, number, to, place, quiet=quiet)
    else:
        made, lines = _configuration(folder, number, to, place)
    if as_json:
        typer.echo(json.dumps({"folder": str(place), "trial": number, **made}))
        return
    show_line(f"trial {number} for {to}: {place}")
    for line in lines:
        show_line(line)


Made = tuple[dict[str, Any], list[str]]


def _configuration(run: RunFolder, number: int, to: str, place: Path) -> Made:
    """What was exported for a trainer: as fields, and as lines for a person."""
    from sweeper.exporting.configuration import export_configuration
    from sweeper.findings.compute import compute
    from sweeper.steps.refit import as_trained

    made = export_configuration(run, compute(run), as_trained(run, number), to, place)
    lost = [f"  not supported: {one}" for one in made.lost]
    fields = {"command": made.command, "not_taken_over": [vars(one) for one in made.lost]}
    return fields, [*lost, f"train: cd {place} && {made.command}"]


def export_weights(run: RunFolder, number: int, to: str, place: Path, *, quiet: bool) -> Made:
    """The kept weights of a trial in a folder of their own: as fields, and as lines."""
    from sweeper.exporting.configuration import new_folder
    from sweeper.exporting.kept_files import kept_files
    from sweeper.exporting.weights import copy_adapter, copy_model
    from sweeper.findings.compute import compute
    from sweeper.plans import Plan
    from sweeper.steps.refit import as_trained
    from sweeper.steps.winner import kept_weights

    weights = kept_weights(run, number)
    new_folder(place)
    if to == "merged":
        kept_files(weights)
        return _merged(weights, place, quiet=quiet)
    if to == "model":
        left_out = copy_model(weights, place)
        lines = [f"  not copied: {name}, which sweeper did not write" for name in left_out]
        return {"not_copied": left_out}, lines
    model = as_trained(run, number).model
    facts = next(one for one in Plan.read(run.plan).facts.models if one.id == model)
    copy_adapter(weights, place, compute(run), facts)
    return {}, []


def _merged(weights: Path, place: Path, *, quiet: bool) -> Made:
    from sweeper.extras import RUNS, require
    from sweeper.processes import request_process
    from sweeper.use.request import MERGE_RECORD, MergeRequest
    from sweeper.views.work_progress import work_progress

    require("sweeper export --to merged", RUNS)
    log = place.with_name(f"{place.name}.log")
    request = MergeRequest(weights=str(weights), folder=str(place))
    work = work_progress(quiet=quiet)
    ended_by = request_process.ask("sweeper.use.merge", request, log, work)
    if ended_by is not None:
        raise typer.Exit(128 + ended_by)
    log.unlink()
    made = MergeRequest.read(place / MERGE_RECORD)
    fields = {"difference": made.difference, "agreement": made.agreement}
    return fields, [made.told]
