"""``sweeper review``: the configuration of another trainer, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeper.cli.options import AsJson, takes_spec
from sweeper.yamlfile import Path_

ORDER = 95
commands = typer.Typer()


@commands.command("review")
@takes_spec()
def review(
    flags: dict[Path_, Any],
    file: Annotated[
        Path,
        typer.Argument(
            help="A configuration of Axolotl, LLaMA-Factory, TRL, transformers, torchtune or "
            "LitGPT, an adapter_config.json, or a script with a training command."
        ),
    ],
    fail_on: Annotated[
        str,
        typer.Option(
            "--fail-on", help="Exit with 5 if there is such a finding: error, warning or never."
        ),
    ] = "error",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the file with the proposed changes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a training configuration before it runs.

    Memory, time and price on your GPU, faults of the data, settings that contradict each other,
    values outside of the evidence with its source, and a patch. Nothing is loaded or trained.
    """
    import json

    from sweeper.artifact import write_text
    from sweeper.errors import GateFailed, UsageError, near_match
    from sweeper.features.review._review import changed, reviews
    from sweeper.features.review._view import show

    choices = ("error", "warning", "never")
    if fail_on not in choices:
        raise UsageError(
            f"--fail-on takes no {fail_on!r}", fix=near_match(fail_on, choices), where="--fail-on"
        )
    made = reviews(file, flags)
    if output is not None:
        write_text(output, changed(file, made))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in made], indent=2))
    else:
        for one in made:
            show(one)
    levels = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
    count = sum(found.level in levels for one in made for found in one.findings)
    if count:
        raise GateFailed(f"{count} findings at --fail-on {fail_on}", where=str(file))
