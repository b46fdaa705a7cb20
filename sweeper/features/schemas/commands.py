"""``sweeper schema``: JSON Schema, so that editors complete and check the files people write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

ORDER = 130
commands = typer.Typer()


@commands.command("schema")
def schema(
    kind: Annotated[
        str, typer.Argument(help="sweep, rules, strategy or parameters, or a command with --json.")
    ] = "sweep",
) -> None:
    """Print the JSON Schema of a kind of file, or of what a command prints with --json.

    Files are sweep.yaml, rules, strategies and parameters. A command is named as it is typed, such
    as 'data check', or 'rules --json' if files have its name. An unknown name lists all of them.
    """
    import json
    from functools import partial

    from sweeper.errors import UsageError, near_match
    from sweeper.features.schemas import _schemas
    from sweeper.planning.rulebook.book import rule_book

    schemas: dict[str, Callable[[], dict[str, Any]]] = {
        "sweep": _schemas.sweep_schema,
        "rules": lambda: _schemas.rules_schema(rule_book()),
        "strategy": _schemas.strategy_schema,
        "parameters": _schemas.parameters_schema,
    }
    if kind not in schemas:  # only then, as the types of outputs load what their commands need
        schemas |= {
            f"{name} --json" if name in schemas else name: partial(_schemas.answer_schema, name)
            for name in _schemas.answers()
        }
    if kind not in schemas:
        raise UsageError(f"there is no schema {kind!r}", fix=near_match(kind, schemas))
    typer.echo(json.dumps(schemas[kind](), indent=2))
