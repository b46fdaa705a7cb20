"""``sweeper schema``: JSON Schema, so that editors complete and check the files people write."""

from __future__ import annotations

from typing import Annotated

import typer

KINDS = ("sweep", "rules", "strategy")


def schema(
    kind: Annotated[str, typer.Argument(help="sweep, rules or strategy.")] = "sweep",
) -> None:
    """Print the JSON Schema of sweep.yaml, of rule files, or of strategy spaces."""
    import json

    from sweeper.errors import UsageError, near_match
    from sweeper.planning.rulebook.rules import rule_book
    from sweeper.planning.rulebook.schema import rules_schema, strategy_schema
    from sweeper.specfile import json_schema

    if kind not in KINDS:
        raise UsageError(f"there is no schema {kind!r}", fix=near_match(kind, KINDS))
    if kind == "sweep":
        found = json_schema()
    else:
        found = rules_schema(rule_book()) if kind == "rules" else strategy_schema()
    typer.echo(json.dumps(found, indent=2))
