"""``sweeper ledger``: how often the predictions of plans held on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli.options import AsJson

if TYPE_CHECKING:
    from sweeper.features.ledger._ledger import KindSummary

ORDER = 155
commands = typer.Typer()


@commands.command("ledger")
def ledger(
    as_json: AsJson = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Write all scores to this file, without names, texts and paths."),
    ] = None,
) -> None:
    """Show how often the predictions of plans held on this machine."""
    from sweeper.cli.data_options import must_be_free
    from sweeper.facts.machine.hardware import hardware_facts
    from sweeper.features.ledger._ledger import Export, entries, machine_of, summary
    from sweeper.spec import HardwareSpec
    from sweeper.views.console import out, say, show_page, table

    machine = "*" if export is not None else machine_of(hardware_facts(HardwareSpec()))
    runs, damaged = entries(machine)
    for message in damaged:
        say(f"Left out: {message}")
    if export is not None:
        must_be_free(export)
        Export(entries=tuple(runs)).write(export)
        say(f"{len(runs)} runs: {export}")
        return
    ledger_summary = summary(runs, damaged)
    if as_json:
        typer.echo(ledger_summary.to_json(), nl=False)
    elif not ledger_summary.runs:
        out().print("No run on this machine has scored its predictions. A complete run does.")
    else:
        heads = ("prediction", "version", "runs", "judged", "held", "expected", "width", "widened")
        show_page(table(heads, map(_row, ledger_summary.kinds)))


def _row(kind: KindSummary) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    width = "–" if kind.width is None else f"{kind.width:.2g}"
    unit = {"factor": "×", "points": " points", "": ""}[kind.width_unit]
    return (
        kind.kind,
        kind.version,
        str(kind.runs),
        f"{kind.judged} of {kind.predictions}",
        share(kind.hit_rate),
        share(kind.stated),
        f"{width}{unit}",
        "" if kind.widened == 1 else f"×{kind.widened:.2g}",
    )


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.ledger._ledger import Summary

    return {"ledger": Summary}
