"""``sweeper refit``: trains the winner again, with the rows that were held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import TypedDict

from sweeper.cli.options import AsJson, Quiet, RunName, TrialNumber

ORDER = 60  # position in the help
commands = typer.Typer()


class Refitted(TypedDict):
    """What ``refit --json`` prints."""

    trial: int
    folders: list[str]


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    return {"refit": Refitted}


@commands.command("refit")
def refit(
    run: RunName,
    all_rows: Annotated[
        bool, typer.Option("--all", help="Train on the test split as well.")
    ] = False,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of models to train, one per seed.")
    ] = 1,
    trial: TrialNumber = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new folder; RUN/refit if not given.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train the recommended configuration on train and validation, for as long as in the sweep.

    The new model is not scored. A finished model is not trained again.
    """
    import json
    from contextlib import closing

    from sweeper.packages import RUNS, require

    require("sweeper refit", RUNS)
    from sweeper.artifact import Record
    from sweeper.child_process import in_child
    from sweeper.execution.interruption import leaving_on_signals
    from sweeper.features.refit import _refit as steps
    from sweeper.runfolder import RunFolder
    from sweeper.views.console import show_line
    from sweeper.views.work_progress import work_progress

    folder = RunFolder.find(run)
    message = "Interrupted. The same command continues with what is not finished."
    with folder.lock(), leaving_on_signals(message), closing(work_progress(quiet=quiet)) as work:
        requests = steps.requests(folder, trial, seeds, output, all_rows=all_rows)
        for request in steps.unfinished(requests):
            log = Path(request.folder + ".log")
            in_child(steps.TRAIN, request, Record, what="the training", work=work, log=log)
            log.unlink()
    folders = [request.folder for request in requests]
    if as_json:
        typer.echo(json.dumps({"trial": requests[0].config.number, "folders": folders}))
        return
    for model_folder in folders:
        show_line(f"model: {model_folder}/weights")
