"""``sweeper data augment`` makes new rows from the training rows with a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeper.cli.data_options import RoleColumns, RowFormat, RowsPath, TaskName

ORDER = 160  # position in the help
commands = typer.Typer(name="data")


@commands.command("augment")
def augment(
    path: RowsPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="New file with only the new rows.")
    ],
    method: Annotated[
        Literal["paraphrase", "back-translation", "synthetic"],
        typer.Option("--method", help="paraphrase, back-translation or synthetic."),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Name of the model at the server; without --endpoint, a local base model.",
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
    task: TaskName = None,
    data_format: RowFormat = "auto",
    columns: RoleColumns = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests in parallel.")
    ] = 8,
    per_minute: Annotated[
        float | None, typer.Option("--requests-per-minute", min=0.001, help="Limit on requests.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.001, help="Seconds to wait for an answer.")
    ] = 120.0,
    price: Annotated[
        str,
        typer.Option(
            "--price-per-million-tokens",
            help="Price of prompt tokens and of reply tokens, in any currency.",
            metavar="IN,OUT",
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
) -> None:
    """Write new rows that a language model makes from the training rows.

    Validation and test rows are never used. Near-copies of any row are rejected. Replies are
    kept in FILE.requests.jsonl beside the output FILE, so an interrupted command continues where
    it stopped. FILE.changes.jsonl lists every row that was added or rejected, with the reason.
    """
    import asyncio

    from sweeper.features.augmentation import _steps as steps
    from sweeper.features.augmentation._augment import augment as augment_rows
    from sweeper.features.augmentation._clients import Replies
    from sweeper.features.augmentation._methods import METHODS
    from sweeper.views.work_progress import work_progress

    token_prices = steps.prices(price)
    dataset = steps.read_dataset(path, task, data_format, columns, output)
    client = steps.model_client(endpoint, model, concurrency, per_minute, timeout)
    train = dataset.splits["train"]
    augmentation_method = METHODS[method]
    row_requests = augmentation_method.row_requests(train, rows or len(train), per_row)
    progress, replies = work_progress(), Replies(steps.replies_path(output), model)
    try:
        ask = endpoint is not None and not yes
        steps.announce(augmentation_method, row_requests, replies, token_prices, ask=ask)
        augmented = asyncio.run(
            augment_rows(dataset, augmentation_method, row_requests, client, replies, progress)
        )
    finally:
        progress.close()
        replies.close()
    steps.write(augmented, output)
    steps.show(augmented, output, token_prices)
