"""``sweeper schema``: JSON Schema, so that editors complete and check the files people write."""

from __future__ import annotations

from typing import Annotated

import typer

ORDER = 130
commands = typer.Typer()


@commands.command("schema")
def schema(
    kind: Annotated[str, typer.Argument(help="sweep, rules, strategy or parameters.")] = "sweep",
) -> None:
    """Print the JSON Schema of one kind of file: sweep.yaml, rules, strategies, parameters."""
    import json

    from sweeper.errors import UsageError, near_match
    from sweeper.features.schemas import _schemas
    from sweeper.planning.rulebook.rules import rule_book

    schemas = {
        "sweep": _schemas.sweep_schema,
        "rules": lambda: _schemas.rules_schema(rule_book()),
        "strategy": _schemas.strategy_schema,
        "parameters": _schemas.parameters_schema,
    }
    if kind not in schemas:
        raise UsageError(f"there is no schema {kind!r}", fix=near_match(kind, schemas))
    typer.echo(json.dumps(schemas[kind](), indent=2))
