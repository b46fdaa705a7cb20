"""Prints our score by source, without each source, and what fits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.memory.file import predictions, read_records
from benchmarks.memory.score import (
    Row,
    Score,
    fit,
    fitting,
    left_out,
    ours,
    refused,
    rows_of,
    scored,
    uncertain,
)
from sweeper.errors import UsageError

_COLUMNS = ("rows", "within 10%", "within 20%", "over 10% too low", "in interval", "width")


def _table(title: str, scores: Sequence[tuple[str, Score | None]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for name, found in scores:
        if found is not None:
            table.add_row(name, *found.cells())
    return table


def _sources(rows: Sequence[Row]) -> list[str]:
    return sorted({row.source for row in rows})


def _rounded(shares: Mapping[Any, float]) -> dict[Any, float]:
    return {name: round(share, 2) for name, share in shares.items()}


def report(rows: Sequence[Row], console: Console) -> None:
    """Print all tables."""
    counted = [row for row in rows if scored(row)]
    sources = _sources(counted)
    each = {name: [row for row in counted if row.source == name] for name in sources}
    everything = {**each, "all": counted}
    console.print(
        _table("Tier A, one GPU", [(name, ours(rows)) for name, rows in everything.items()])
    )
    known = fitting(rows)
    unseen = [(name, left_out(some, known)) for name, some in everything.items()]
    console.print(_table("By source, each left out of what is fitted", unseen))
    rest = [row for row in rows if uncertain(row)]
    others = [(name, [row for row in rest if row.source == name]) for name in _sources(rest)]
    told = [(name, left_out(some, known)) for name, some in [*others, ("all", rest)]]
    if rest:
        console.print(_table("Tier B, one GPU, each source left out", told))
    fitted = fit(known)
    console.print(f"Fitted to all: reserve {_rounded(fitted.reserve)} of what moves")
    bands = {
        name: f"{-band.below:+.2f} to {band.above:+.2f}" for name, band in fitted.bands.items()
    }
    console.print(f"intervals {bands}")
    failed, ran = refused(rows, ran=False), refused(rows, ran=True)
    console.print(
        f"Out of memory foreseen: {sum(failed)} of {len(failed)}; "
        f"false alarms: {sum(ran)} of {len(ran)}."
    )


def predict(records: Sequence[Any]) -> int:
    """Print one line of JSON for each record; what is wrong with one goes to standard error."""
    status = 0
    for answer in predictions(records):
        print(json.dumps(answer))
        if "error" in answer:
            print(f"error: record {answer['id']}: {answer['error']}", file=sys.stderr)
            status = UsageError.exit_code
        for problem in answer.get("problems", ()):
            print(f"record {answer['id']}: {problem}; taken for missing", file=sys.stderr)
    return status


def main() -> int:
    """Read the records; print the tables, or a prediction for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="scored", type=Path, help="JSON records to score against")
    what.add_argument("--predict", type=Path, help="JSON records: one line of JSON for each")
    chosen = parser.parse_args()
    try:
        records = read_records(chosen.scored or chosen.predict)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if chosen.predict is not None:
        return predict(records)
    report(rows_of(records), Console(width=110))
    return 0


if __name__ == "__main__":
    sys.exit(main())
