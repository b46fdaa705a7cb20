"""``sweeper data augment``: new rows from the training rows, made by a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sweeper.data.augment.augment import Augmented, Estimate, Price, Writer


def augment(
    path: Annotated[str, typer.Argument(help="File, or folder with train, validation and test.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New file with only the new rows.")
    ],
    method: Annotated[
        str, typer.Option("--method", help="paraphrase, back-translation or synthetic.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", help="The server's name of a model; without --endpoint, a local base model."
        ),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            help="URL of an OpenAI-compatible server, up to /v1; its key in OPENAI_API_KEY.",
            metavar="URL",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Training rows to use; by default all.")
    ] = None,
    per_row: Annotated[int, typer.Option("--per-row", min=1, help="New rows from each row.")] = 1,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="classification, instruction, code or domain; else by the rows."
        ),
    ] = None,
    data_format: Annotated[
        str, typer.Option("--format", help="Format of the rows, if the guess is wrong.")
    ] = "auto",
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="role=column.", metavar="ROLE=COLUMN"),
    ] = None,
    split_seed: Annotated[
        int, typer.Option("--split-seed", help="data.split_seed of the sweep.")
    ] = 0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests in parallel.")
    ] = 8,
    per_minute: Annotated[
        float | None,
        typer.Option("--requests-per-minute", min=0.001, help="Limit on requests."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.001, help="Seconds to wait for an answer.")
    ] = 120.0,
    price: Annotated[
        str | None,
        typer.Option(
            "--price-per-million-tokens",
            help="In any currency, for prompt and reply tokens.",
            metavar="IN,OUT",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
) -> None:
    """Write new rows that a language model makes from the training rows.

    Rows of validation and test are never used, and similar new rows are rejected. Every reply is
    kept in NEW.requests.jsonl at once, so an interrupted command continues where it stopped.
    NEW.changes.jsonl lists every row that was added or rejected, with the reason.
    """
    import asyncio

    from sweeper.artifact import write_text
    from sweeper.cli.commands import data_steps
    from sweeper.cli.options import columns as column_map
    from sweeper.data.augment.augment import augment as make_rows
    from sweeper.data.augment.augment import estimate
    from sweeper.data.augment.methods import METHODS, check_rows
    from sweeper.data.augment.replies import Replies
    from sweeper.data.load import load
    from sweeper.data.quality.similar import why_not
    from sweeper.data.quality.write import change_list, changes_path, written
    from sweeper.errors import NotInstalled, UsageError, near_match
    from sweeper.spec import DataSpec
    from sweeper.views.work_progress import work_progress

    if method not in METHODS:
        raise UsageError(
            f"{method!r} is not a method", fix=near_match(method, METHODS), where="--method"
        )
    if missing := why_not():
        raise NotInstalled("near duplicates cannot be checked", why=missing)
    how, costs = METHODS[method], _price(price)
    data = data_steps.rows_of(path, task, data_format, columns, None, None, None)
    suffix = data_steps.must_be_new_file(output)
    spec = DataSpec(
        path=path, format=data_format, columns=column_map(columns or []), split_seed=split_seed
    )
    dataset = load(spec, data.task)
    train = dataset.splits["train"]
    check_rows(train, path)
    jobs = how.jobs(train, rows or len(train), per_row)
    writer = _writer(endpoint, model, concurrency, per_minute, timeout)
    replies = Replies(output.with_name(f"{output.name.partition('.')[0]}.requests.jsonl"), model)
    progress = work_progress()
    try:
        planned = estimate(jobs, how, replies, data_steps.token_count(data))
        _show_estimate(planned, how.name, costs)
        if planned.requests and endpoint is not None and not yes:
            _ask()
        found = asyncio.run(make_rows(dataset, how, jobs, writer, replies, progress))
    finally:
        progress.close()
        replies.close()
    output.write_bytes(written(found.rows, suffix))
    write_text(changes_path(output), change_list(found.changes))
    _show(found, costs, output, changes_path(output))


def _price(text: str | None) -> Price | None:
    from sweeper.data.augment.augment import Price
    from sweeper.errors import UsageError

    if text is None:
        return None
    try:
        read, written = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"{text!r} is not two prices",
            fix="Write the price of a million tokens read, a comma, and that of written ones.",
            where="--price-per-million-tokens",
        ) from None
    return Price(read, written)


def _writer(
    endpoint: str | None, model: str, concurrency: int, per_minute: float | None, timeout: float
) -> Writer:
    from sweeper.data.augment.endpoint import Endpoint
    from sweeper.data.augment.local_model import LocalModel
    from sweeper.extras import TRAINING, require

    if endpoint is None:
        require("A local model", TRAINING)
        return LocalModel(model)
    return Endpoint(
        endpoint, model, concurrency=concurrency, per_minute=per_minute, timeout=timeout
    )


def _ask() -> None:
    import sys

    from sweeper.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to confirm the start", fix="Give --yes.")
    typer.confirm("Start?", abort=True, err=True)


def _money(price: Price | None, read: int, written: int) -> str:
    return f", at a cost of {price.of(read, written):.4g} by that price" if price else ""


def _show_estimate(planned: Estimate, method: str, price: Price | None) -> None:
    from sweeper.views.console import err

    kept = f" ({planned.kept:,} replies are there)" if planned.kept else ""
    money = _money(price, planned.tokens_in, planned.tokens_out)
    err().print(
        f"{planned.rows:,} rows by {method}: {planned.requests:,} requests{kept}, about "
        f"{planned.tokens_in:,} tokens to read and {planned.tokens_out:,} to write{money}",
        markup=False,
        highlight=False,
    )


def _show(found: Augmented, price: Price | None, output: Path, changes: Path) -> None:
    from collections import Counter

    money = _money(price, found.tokens_in, found.tokens_out)
    typer.echo(
        f"{found.count('added'):,} rows added, {found.count('rejected'):,} rejected, "
        f"{found.count('failed'):,} without a usable reply; {found.tokens_in:,} tokens read and "
        f"{found.tokens_out:,} written{money}"
    )
    reasons = Counter((c.action, c.why) for c in found.changes if c.why)
    for (action, why), count in reasons.most_common():
        typer.echo(f"  {count:,} {action}: {why}")
    typer.echo(f"Written: {output}; every row: {changes}")
    if found.count("failed"):
        typer.echo(f"To ask again for the rows without a reply, delete {output} and {changes}.")
    typer.echo("To train on them, in sweep.yaml:")
    typer.echo(f"  augmentation: {{path: {output}}}")
