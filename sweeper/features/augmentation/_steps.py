"""The steps of ``sweeper data augment``: what is checked, said and written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from sweeper import units
from sweeper.artifact import write_text
from sweeper.cli.data_options import TaskName, must_be_new, rows_of
from sweeper.cli.options import columns as column_map
from sweeper.data.changes import change_list
from sweeper.data.examples import Dataset
from sweeper.data.load import dataset_of_rows
from sweeper.data.similar import reason_not_available
from sweeper.data.write_rows import changes_path, writable_suffix, write_rows
from sweeper.errors import DataError, NotInstalled, UsageError, near_match
from sweeper.extras import TRAINING, require
from sweeper.facts.dataset.lengths import BYTES_PER_TOKEN
from sweeper.features.augmentation._augment import Augmented, Writer, requests
from sweeper.features.augmentation._endpoint import Endpoint
from sweeper.features.augmentation._local_model import LocalModel
from sweeper.features.augmentation._methods import METHODS, Method, NewRow
from sweeper.features.augmentation._replies import Replies
from sweeper.spec import DataSpec
from sweeper.views.console import say

Prices = tuple[float, float] | None
"""Money for a million tokens, read and written."""


def method_named(name: str) -> str:
    """The name of a method, checked."""
    if name not in METHODS:
        raise UsageError(f"{name!r} is not a method", fix=near_match(name, METHODS))
    return name


def prices(text: str) -> Prices:
    """The prices that a flag states."""
    try:
        read, wrote = (float(part) for part in text.split(",")) if text else (0.0, 0.0)
    except ValueError:
        raise UsageError(
            f"{text!r} is not two prices",
            fix="Write what a million tokens cost, read and written: 0.15,0.60.",
            where="--price-per-million-tokens",
        ) from None
    return (read, wrote) if text else None


def training_rows(
    output: Path, path: str, task: TaskName, data_format: str, columns: list[str] | None
) -> Dataset:
    """The data set, split as a run splits it, if the new file can be written."""
    if missing := reason_not_available():
        raise NotInstalled("near duplicates cannot be looked for", why=missing)
    data = rows_of(path, task, data_format, columns)
    must_be_new(output, data)
    writable_suffix(output, output)
    spec = DataSpec(path=path, format=data_format, columns=column_map(columns or []))
    dataset = dataset_of_rows(data, spec)
    if dataset.labels:
        require("The check of labels", ("sklearn",))
    if dataset.templated:
        raise DataError(
            "texts with chat markers cannot be augmented",
            why="A model that rewrites them would rewrite the markers, too.",
            fix="Convert them to messages first.",
            where=path,
        )
    return dataset


def writer(
    endpoint: str | None, model: str, concurrency: int, per_minute: float | None, timeout: float
) -> Writer:
    """Who answers."""
    if endpoint is not None:
        return Endpoint(endpoint, model, concurrency, per_minute, timeout)
    require("A local model", TRAINING)
    return LocalModel(model)


def replies_path(output: Path) -> Path:
    """Where replies are kept: beside the new file."""
    return output.with_name(f"{output.name.partition('.')[0]}.requests.jsonl")


def announce(
    method: Method, jobs: Sequence[NewRow], replies: Replies, money: Prices, *, ask: bool
) -> None:
    """Say what will be asked for and what it costs, and ask whether to start.

    Raises:
        UsageError: Nobody can be asked.
    """
    answered, missing = requests(method, jobs, replies)
    times = method.requests_per_row
    read = sum(len(m.content.encode()) for request in missing for m in request.messages)
    wrote = sum(request.expected for request in missing)
    tokens = [round(times * count / BYTES_PER_TOKEN) for count in (read, wrote)]
    kept = f" ({answered:,} replies are there)" if answered else ""
    say(
        f"{units.plural(len(jobs), 'row')} by {method.name}: {times * len(missing):,} "
        f"requests{kept}, about {tokens[0]:,} tokens to read and {tokens[1]:,} to write"
        f"{_cost(money, *tokens)}"
    )
    if ask and missing and not sys.stdin.isatty():
        raise UsageError("there is no terminal to confirm the start", fix="Give --yes.")
    if ask and missing:
        typer.confirm("Start?", abort=True, err=True)


def _cost(money: Prices, read: int, wrote: int) -> str:
    return f", at a cost of {(read * money[0] + wrote * money[1]) / 1e6:.4g}" if money else ""


def write(made: Augmented, output: Path) -> None:
    """Write the new rows and the list of what became of each.

    Raises:
        UsageError: There is no new row.
    """
    if not made.rows:
        reasons = Counter(change.why for change in made.changes).most_common(3)
        raise UsageError(
            f"none of {len(made.changes):,} rows was added",
            why="; ".join(f"{count:,}: {why}" for why, count in reasons),
            fix=f"The replies are in {replies_path(output)}. Try another model or method.",
        )
    write_rows(output, made.rows)
    write_text(changes_path(output), change_list(made.changes))


def show(made: Augmented, output: Path, money: Prices) -> None:
    """What came of it, and how to use it."""
    ended = Counter(change.action for change in made.changes)
    typer.echo(
        f"{units.plural(ended['added'], 'row')} added, {ended['rejected']:,} rejected, "
        f"{ended['failed']:,} without a usable reply; {made.tokens_in:,} tokens read and "
        f"{made.tokens_out:,} written{_cost(money, made.tokens_in, made.tokens_out)}"
    )
    reasons = Counter((c.action, c.why) for c in made.changes if c.why)
    for (action, why), count in reasons.most_common():
        typer.echo(f"  {count:,} {action}: {why}")
    typer.echo(f"Written: {output}; every row: {changes_path(output)}")
    if ended["failed"]:
        typer.echo("To ask again for rows without a reply, delete both files first.")
    typer.echo(f"To train on them, in sweep.yaml: features: {{augmentation: {{path: {output}}}}}")
