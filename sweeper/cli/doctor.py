"""``sweeper doctor``: what works on this machine, and what to install for what does not."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Try what sweeper needs on this machine; exit with 2 if nothing can be trained here."""
    import json
    from dataclasses import asdict

    from sweeper.cli.console import out
    from sweeper.execution.doctor import can_train, examine

    checks = []
    console = out()
    for check in examine():
        checks.append(check)
        if not as_json:
            line = f"{check.name:18} {check.state:14} {check.detail}".rstrip()
            console.print(line, markup=False, soft_wrap=True)
            if check.fix:
                console.print(f"{'':18} {check.fix}", markup=False, soft_wrap=True)
    able = can_train(checks)
    if as_json:
        found = {"can_train": able, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(found, indent=2))
    else:
        able_text = "Training works here." if able else "Nothing can be trained here."
        console.print(able_text, markup=False)
    if not able:
        raise typer.Exit(2)
