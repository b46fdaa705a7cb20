"""``sweeper worker``: join a running study from another shell or machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def worker(
    storage: Annotated[
        str, typer.Option("--storage", help="The run's storage URL, or its study.db.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="The run, where the storage has several.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="The run folder as this machine sees it.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads to use.")
    ] = None,
) -> None:
    """Train trials for a running study until its command ends.

    The run folder and the data must be shared with this machine, and the storage reachable from
    it: PostgreSQL or Optuna's proxy between machines. On one machine prefer --workers, which
    divides the processor's threads between the workers.
    """
    import socket

    from sweeper.execution.join import join
    from sweeper.execution.placement import quiet_threads

    # Before torch is loaded, which reads these once.
    os.environ.update(quiet_threads(threads))
    url = f"sqlite:///{Path(storage).resolve()}" if Path(storage).is_file() else storage
    code = join(
        url,
        name=name,
        run=run,
        worker=f"{socket.gethostname()}-{os.getpid()}",
        tell=lambda event: typer.echo(event.model_dump_json(exclude_defaults=True), err=True),
    )
    raise typer.Exit(code)
