"""The steps of ``sweeper data augment``: checks, messages and files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from sweeper import units
from sweeper.cli.data_options import TaskName, must_be_new, rows_of
from sweeper.cli.options import columns as column_map
from sweeper.data.examples import Dataset
from sweeper.data.load import dataset_of_rows
from sweeper.data.similar import reason_not_available
from sweeper.data.write_rows import change_list, changes_path, writable_suffix, write_rows
from sweeper.errors import DataError, NotInstalled, UsageError
from sweeper.facts.dataset.lengths import BYTES_PER_TOKEN
from sweeper.features.augmentation._augment import Augmented, ModelClient, answered_and_missing
from sweeper.features.augmentation._clients import Endpoint, LocalModel, Replies
from sweeper.features.augmentation._methods import Method, RowRequest
from sweeper.packages import TRAINING, require
from sweeper.spec import DataSpec
from sweeper.textfiles import write_text
from sweeper.views.console import say

Prices = tuple[float, float] | None
"""Price of a million prompt tokens, and of a million reply tokens; None if unknown."""


def prices(text: str) -> Prices:
    """The prices that a flag states; None if empty."""
    try:
        prompt, reply = (float(part) for part in text.split(",")) if text else (0.0, 0.0)
    except ValueError:
        raise UsageError(
            f"{text!r} is not two prices",
            fix="Give the prices of a million prompt and a million reply tokens: 0.15,0.60.",
            where="--price-per-million-tokens",
        ) from None
    return (prompt, reply) if text else None


def read_dataset(
    path: str, task: TaskName, data_format: str, columns: list[str] | None, output: Path
) -> Dataset:
    """The data set, split as in a run, after a check that ``output`` can be written."""
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


def model_client(
    endpoint: str | None, model: str, concurrency: int, per_minute: float | None, timeout: float
) -> ModelClient:
    """The client of an endpoint; of a local model if ``endpoint`` is None."""
    if endpoint is not None:
        return Endpoint(endpoint, model, concurrency, per_minute, timeout)
    require("A local model", TRAINING)
    return LocalModel(model)


def replies_path(output: Path) -> Path:
    """The file of the replies, next to the new file."""
    return output.with_name(f"{output.name.partition('.')[0]}.requests.jsonl")


def announce(
    method: Method,
    row_requests: Sequence[RowRequest],
    replies: Replies,
    token_prices: Prices,
    *,
    ask: bool,
) -> None:
    """Print the number of requests and their cost, and ask whether to start.

    Raises:
        UsageError: There is no terminal to ask on.
    """
    answered, missing = answered_and_missing(method, row_requests, replies)
    per_row = method.requests_per_row
    prompt_bytes = sum(len(m.content.encode()) for request in missing for m in request.messages)
    reply_bytes = sum(request.expected_characters for request in missing)
    tokens = [round(per_row * count / BYTES_PER_TOKEN) for count in (prompt_bytes, reply_bytes)]
    kept = f" ({answered:,} replies exist already)" if answered else ""
    say(
        f"{units.plural(len(row_requests), 'row')} by {method.name}: {per_row * len(missing):,} "
        f"requests{kept}, about {tokens[0]:,} tokens to read and {tokens[1]:,} to write"
        f"{_cost(token_prices, *tokens)}"
    )
    if ask and missing and not sys.stdin.isatty():
        raise UsageError("there is no terminal to confirm the start", fix="Give --yes.")
    if ask and missing:
        typer.confirm("Start?", abort=True, err=True)


def _cost(token_prices: Prices, prompt_tokens: int, reply_tokens: int) -> str:
    if not token_prices:
        return ""
    cost = (prompt_tokens * token_prices[0] + reply_tokens * token_prices[1]) / 1e6
    return f", at a cost of {cost:.4g}"


def write(augmented: Augmented, output: Path) -> None:
    """Write the new rows, and a list of all row requests with their outcomes.

    Raises:
        UsageError: There is no new row.
    """
    if not augmented.rows:
        reasons = Counter(change.why for change in augmented.changes).most_common(3)
        raise UsageError(
            f"none of {len(augmented.changes):,} rows was added",
            why="; ".join(f"{count:,}: {why}" for why, count in reasons),
            fix=f"The replies are in {replies_path(output)}. Try another model or method.",
        )
    write_rows(output, augmented.rows)
    write_text(changes_path(output), change_list(augmented.changes))


def show(augmented: Augmented, output: Path, token_prices: Prices) -> None:
    """Print how many rows were added, and how to train on them."""
    counts = Counter(change.action for change in augmented.changes)
    cost = _cost(token_prices, augmented.tokens_in, augmented.tokens_out)
    typer.echo(
        f"{units.plural(counts['added'], 'row')} added, {counts['rejected']:,} rejected, "
        f"{counts['failed']:,} without a usable reply; {augmented.tokens_in:,} tokens read and "
        f"{augmented.tokens_out:,} written{cost}"
    )
    reasons = Counter((c.action, c.why) for c in augmented.changes if c.why)
    for (action, why), count in reasons.most_common():
        typer.echo(f"  {count:,} {action}: {why}")
    typer.echo(f"Written: {output}; every row: {changes_path(output)}")
    if counts["failed"]:
        typer.echo("To ask again for rows without a reply, delete both files first.")
    typer.echo(f"To train on them, in sweep.yaml: features: {{augmentation: {{path: {output}}}}}")
