"""``sweeper review``: checks the configuration of another trainer before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sweeper.cli.options import AsJson, takes_spec
from sweeper.yamlfile import KeyPath

ORDER = 95
commands = typer.Typer()


@commands.command("review")
@takes_spec(sections=("task", "models", "data", "hardware"))
def review(
    flags: dict[KeyPath, Any],
    file: Annotated[
        Path, typer.Argument(help="A trainer's configuration, or a script with a training command.")
    ],
    fail_on: Annotated[
        Literal["error", "warning", "never"],
        typer.Option(help="Exit with 5 if there is a finding of this level or above."),
    ] = "error",
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a training configuration before it runs.

    Prints memory, time and price on your GPU, faults of the data, contradictory settings, values
    outside the range of published evidence, and a patch. Nothing is loaded or trained.
    """
    import json

    from sweeper.errors import GateFailed
    from sweeper.features.review._review import reviews
    from sweeper.features.review._view import show
    from sweeper.units import plural

    levels = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
    file_reviews = reviews(file, flags)
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in file_reviews], indent=2))
    else:
        for item in file_reviews:
            show(item)
    findings = [finding for item in file_reviews for finding in item.findings]
    count = sum(finding.level in levels[fail_on] for finding in findings)
    if count:
        raise GateFailed(f"{plural(count, 'finding')} of level {fail_on} or above", where=str(file))


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.review._record import Review

    return {"review": tuple[Review, ...]}
