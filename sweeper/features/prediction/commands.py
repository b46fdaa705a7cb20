"""``sweeper predict``: predictions of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.options import TrialNumber

ORDER = 50  # position in the help
commands = typer.Typer()


@commands.command("predict")
def predict(
    model: Annotated[str, typer.Argument(help="Name or folder of a run, or a weights/ folder.")],
    text: Annotated[str | None, typer.Argument(help="One text. For more, use --data.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A file as for training, or - for standard input.")
    ] = None,
    trial: TrialNumber = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write JSON lines into this file; an interrupted command continues it.",
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Maximum rows at a time.")
    ] = 32,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Cut an output at this many tokens.")
    ] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Predict labels with probabilities, or text, for one text or each row of a file.

    Without --trial, the recommended trial of a run is used, or its best one so far.
    """
    import os.path

    from sweeper.errors import UsageError
    from sweeper.features.prediction import _steps as steps
    from sweeper.views.console import say

    if (text is None) == (data is None):
        raise UsageError("give either one text or --data FILE", fix="Use --data - for a pipe.")
    if text is not None and os.path.isfile(text):  # noqa: PTH113 - any text is allowed
        raise UsageError(
            "this is a file, but a text is expected here",
            fix=f"For its rows, give --data {text}.",
            where=text,
        )
    settings = steps.PredictionRequest(
        data=data, text=text, batch_size=batch_size, max_new_tokens=max_new_tokens
    )
    lines = steps.predictions(model, trial, output, settings, quiet=quiet)
    if output is None:
        for line in lines:
            typer.echo(line if as_json else steps.readable_line(line), nl=not as_json)
    elif as_json:
        typer.echo(steps.PredictedFile(output=str(output), rows=len(lines)).model_dump_json())
    elif not quiet:
        say(f"{len(lines)} rows: {output}")


def answers() -> dict[str, Any]:
    """The types of the ``--json`` output: a line for each row, or the file."""
    from sweeper.features.prediction._steps import PredictedFile, PredictedRow

    return {"predict": PredictedRow | PredictedFile}
