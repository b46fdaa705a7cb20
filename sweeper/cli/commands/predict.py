"""``sweeper predict``: predictions of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import TrialNumber

ORDER = 50
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
        int, typer.Option("--batch-size", min=1, help="Rows at a time, at most.")
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
    import json
    import os.path
    import tempfile
    from contextlib import closing

    from sweeper.artifact import Record, write_text
    from sweeper.child_process import in_child
    from sweeper.cli.commands import predict_steps
    from sweeper.errors import UsageError
    from sweeper.execution.interruption import leaving_on_signals
    from sweeper.use.request import PredictionRequest
    from sweeper.views.console import say
    from sweeper.views.work_progress import work_progress

    if (text is None) == (data is None):
        raise UsageError("give either one text or --data FILE", fix="Use --data - for a pipe.")
    if text is not None and os.path.isfile(text):  # noqa: PTH113 - any text is allowed
        raise UsageError(
            "this is a file, but a text is expected here",
            fix=f"For its rows, give --data {text}.",
            where=text,
        )
    if output is not None and output.exists():
        raise UsageError(
            "the output file exists", fix="Delete it, or name another --output.", where=str(output)
        )
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError("there is no such folder", where=str(output.absolute().parent))
    weights = predict_steps.weights_of(model, trial)
    with tempfile.TemporaryDirectory(prefix="sweeper-predict-") as folder:
        part = Path(folder) / "part.jsonl"
        if output is not None:
            part = output.with_name(output.name + ".part")
        request = PredictionRequest(
            weights=str(weights),
            data=str(predict_steps.piped(Path(folder))) if data == "-" else data,
            text=text,
            part=str(part),
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
        )
        kept = " The same command continues where it stopped." if output is not None else ""
        with leaving_on_signals(f"Interrupted.{kept}"), closing(work_progress(quiet=quiet)) as work:
            function = "sweeper.use.predict:predict"
            in_child(function, request, Record, what="the prediction", work=work)
        lines = predict_steps.in_order(part)
        if output is not None:
            write_text(output, "".join(lines))
            part.unlink()
    if output is None:
        for line in lines:
            typer.echo(line if as_json else predict_steps.shown(line), nl=not as_json)
    elif as_json:
        typer.echo(json.dumps({"output": str(output), "rows": len(lines)}))
    elif not quiet:
        say(f"{len(lines)} rows: {output}")
